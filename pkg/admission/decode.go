package admission

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/workload"
)

// podReview is an AdmissionReview whose objects are Pods. Decoding straight
// into the Pod reads the body once, where a RawExtension would read it twice.
type podReview struct {
	metav1.TypeMeta `json:",inline"`
	Request         *podRequest `json:"request"`
}

type podRequest struct {
	UID         types.UID                 `json:"uid"`
	Kind        metav1.GroupVersionKind   `json:"kind"`
	SubResource string                    `json:"subResource"`
	Namespace   string                    `json:"namespace"`
	Operation   admissionv1.Operation     `json:"operation"`
	UserInfo    authenticationv1.UserInfo `json:"userInfo"`
	Object      *corev1.Pod               `json:"object"`
	OldObject   *corev1.Pod               `json:"oldObject"`
}

// decodePod decodes the body of a review of pods. Objects of other kinds
// (bindings, evictions) share no field with a Pod but metadata; they stand for
// no pod.
func decodePod(body []byte) (*podRequest, error) {
	var review podReview
	if err := json.Unmarshal(body, &review); err != nil {
		return nil, fmt.Errorf("the body is not an AdmissionReview of a Pod: %w", err)
	}
	want := admissionv1.SchemeGroupVersion.String()
	if review.APIVersion != want || review.Kind != "AdmissionReview" {
		return nil, fmt.Errorf("expected apiVersion %q and kind \"AdmissionReview\", found %q and %q", want, review.APIVersion, review.Kind)
	}
	if review.Request == nil {
		return nil, errors.New("the AdmissionReview has no request")
	}
	if review.Request.UID == "" {
		return nil, errors.New("the request has no uid")
	}
	return review.Request, nil
}

func (r *podRequest) isPod() bool { return r.Kind.Group == "" && r.Kind.Kind == "Pod" }

// review is what the policies get to see of the request.
func (r *podRequest) review() *policy.Review {
	out := &policy.Review{
		Operation: r.Operation, SubResource: r.SubResource, UserInfo: r.UserInfo, Namespace: r.Namespace,
	}
	if !r.isPod() {
		return out
	}
	if r.Object != nil {
		out.Pod = workload.OfPod(r.Object)
		if out.Namespace == "" {
			out.Namespace = r.Object.Namespace
		}
	}
	if r.OldObject != nil {
		out.Old = workload.OfPod(r.OldObject)
	}
	return out
}

// answer maps a verdict to the response.
func answer(uid types.UID, v *policy.Verdict) *admissionv1.AdmissionReview {
	response := &admissionv1.AdmissionResponse{
		UID: uid, Allowed: v.Allowed, Warnings: v.Warnings, AuditAnnotations: v.AuditAnnotations(),
	}
	if !v.Allowed {
		response.Result = &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: v.Message,
		}
	}
	return &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: response,
	}
}
