// Package admission holds the webhooks: HTTP handlers that decode a review,
// gather the facts that the policies need, let them judge, and answer. No rule
// of the game lives here; see package policy.
//
// Of ours it imports packages apis, workload, reference, facts, usage, source, intake, metrics,
// printable, policy, policy/rewrite and evaluate; facts come through the interface source.Source.
package admission

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/policy"
)

// Handler judges pods, or the pods that workloads stand for.
type Handler struct {
	Endpoint
	// Decode reads the body of a review: Pods, or Workloads.
	Decode Decoder
	// AtMost is the strongest action that comes of it; Deny if empty.
	AtMost v1alpha1.Action
	// Access says what callers may know. Without it none may know more than what
	// the pod itself says.
	Access Access
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, func(arrived time.Time, body []byte, a *answered) error {
		request, err := h.Decode(body)
		if err != nil {
			return err
		}
		a.kind, a.operation = request.kind, request.review.Operation
		verdict, err := h.judge(r, arrived, request)
		if err != nil {
			return err
		}
		h.record(request, &verdict)
		a.outcome, a.review = verdict.Outcome(), answer(request.uid, &verdict)
		return nil
	}, h.unjudged)
}

func (h *Handler) judge(r *http.Request, arrived time.Time, request *Request) (policy.Verdict, error) {
	ctx, cancel := within(r, arrived)
	defer cancel()
	request.review.AtMost, request.review.Now, request.review.Done = h.AtMost, h.Now(), ctx.Done()
	plan := h.Policies.Snapshot().Plan(&request.review)
	set, err := h.gather(ctx, r, arrived, plan.Needs)
	if err != nil {
		return policy.Verdict{}, err
	}
	h.hideNames(r, arrived, &request.review, set)
	verdict := plan.Judge(set)
	verdict.Warnings = append(verdict.Warnings, request.warnings...)
	return verdict, nil
}

// record writes the metrics and, at the debug level, a line for each finding.
func (e *Endpoint) record(request *Request, v *policy.Verdict) {
	for _, u := range v.Undecided {
		e.Metrics.Undecided.Inc()
		e.Log.V(1).Info("Whether a policy matches is unknown", "uid", request.uid, "policy", u.Policy, "why", u.Why)
	}
	for _, part := range []struct {
		counter  *prometheus.CounterVec
		message  string
		findings []policy.Finding
	}{{e.Metrics.Findings, "Finding", v.Findings}, {e.Metrics.WouldFindings, "Would have acted", v.Would}} {
		for i := range part.findings {
			f := &part.findings[i]
			part.counter.WithLabelValues(f.Check, string(f.Action), f.State.String()).Inc()
			if log := e.Log.V(1); log.Enabled() {
				log.Info(part.message, "uid", request.uid, "namespace", request.review.Namespace, "operation", request.review.Operation,
					"check", f.Check, "action", f.Action, "state", f.State.String(), "object", f.Object.String(), "subject", f.Subject, "path", f.Path)
			}
		}
	}
}

// answer maps a verdict to the response.
func answer(uid types.UID, v *policy.Verdict) *admissionv1.AdmissionReview {
	response := &admissionv1.AdmissionResponse{
		UID: uid, Allowed: v.Allowed, Warnings: v.Warnings, AuditAnnotations: v.AuditAnnotations(),
	}
	if !v.Allowed {
		response.Result = refusal(v.Message, v.Code)
	}
	return envelope(response)
}

// refusal is the status of what is refused.
func refusal(message string, code int32) *metav1.Status {
	status := &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: message}
	if code == policy.TooManyRequests {
		status.Code, status.Reason = http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests
		status.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	}
	return status
}
