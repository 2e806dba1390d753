package admission

import (
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/intake"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/printable"
)

// unjudgedAnnotation tells in the audit log why a review was not judged.
const unjudgedAnnotation = "unjudged"

// unjudged refuses a review where a policy might. What it weighs, and how many there
// are, is the callers' doing: were it answered with an HTTP status, a failurePolicy of
// Ignore would let pass what a policy denies.
func (h *Handler) unjudged(head *intake.Head, refused *intake.Refusal) *admissionv1.AdmissionReview {
	switch {
	case !changes(head):
		return envelope(&admissionv1.AdmissionResponse{UID: types.UID(head.UID), Allowed: true})
	case (h.AtMost == "" || h.AtMost == v1alpha1.Deny) && h.Policies.Snapshot().MayDeny(head.Namespace, head.Kind.Kind != "Pod"):
		return refuse(head, refused)
	case refused.Reason == intake.TooLarge:
		return pass(head, refused, "was not judged")
	}
	return nil
}

// unjudged lets pass what is too large to be changed. Whether it may pass unchanged
// says who judges it afterwards.
func (*MutateHandler) unjudged(head *intake.Head, refused *intake.Refusal) *admissionv1.AdmissionReview {
	if refused.Reason == intake.TooLarge {
		return pass(head, refused, "was not changed")
	}
	return nil
}

// unjudged refuses a TokenPolicy that is too large.
func (*PolicyHandler) unjudged(head *intake.Head, refused *intake.Refusal) *admissionv1.AdmissionReview {
	if refused.Reason == intake.TooLarge {
		return refuse(head, refused)
	}
	return nil
}

// changes reports whether the operation is one that anything is refused for.
func changes(head *intake.Head) bool {
	return head.Operation == string(admissionv1.Create) || head.Operation == string(admissionv1.Update)
}

func pass(head *intake.Head, refused *intake.Refusal, what string) *admissionv1.AdmissionReview {
	return envelope(&admissionv1.AdmissionResponse{
		UID: types.UID(head.UID), Allowed: true,
		Warnings:         []string{printable.Text("this "+kindOf(head)+" is too large and "+what+": "+refused.Message, policy.MaxMessage)},
		AuditAnnotations: map[string]string{unjudgedAnnotation: string(refused.Reason)},
	})
}

func refuse(head *intake.Head, refused *intake.Refusal) *admissionv1.AdmissionReview {
	status := &metav1.Status{Status: metav1.StatusFailure}
	if refused.Reason == intake.Busy {
		// With this a client of Kubernetes tries again by itself.
		status.Code, status.Reason = http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests
		status.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
		status.Message = printable.Text("this "+kindOf(head)+" can't be judged just now: "+refused.Message+": try again", policy.MaxMessage)
	} else {
		status.Code, status.Reason = http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge
		status.Message = printable.Text("this "+kindOf(head)+" is too large to be judged: "+refused.Message+": make it smaller", policy.MaxMessage)
	}
	return envelope(&admissionv1.AdmissionResponse{
		UID: types.UID(head.UID), Result: status, AuditAnnotations: map[string]string{unjudgedAnnotation: string(refused.Reason)},
	})
}

func kindOf(head *intake.Head) string {
	if head.Kind.Kind == "" {
		return "object"
	}
	return head.Kind.Kind
}
