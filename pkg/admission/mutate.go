package admission

import (
	"encoding/json"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/policy/rewrite"
	"tokenward.dev/tokenward/pkg/workload"
)

// MutateHandler changes pods as policies say, before they are judged. It refuses a
// pod only where it can't be told whether a policy changes it.
type MutateHandler struct {
	Endpoint
	// Holds reports whether pods can be held just now; nil for never.
	Holds func() bool
}

// ServeHTTP implements http.Handler.
func (h *MutateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, func(arrived time.Time, body []byte, a *answered) error {
		request, err := ownedPods(body)
		if err != nil {
			return err
		}
		a.kind, a.operation = request.kind, request.review.Operation
		result, err := h.change(r, arrived, request)
		if err != nil {
			return err
		}
		h.record(request, &result)
		a.review, err = patchAnswer(request.uid, &result)
		a.outcome = "allow"
		switch {
		case result.Refusal != nil:
			a.outcome = "deny"
		case len(result.Operations) > 0:
			a.outcome = "patch"
		}
		return err
	}, h.unjudged)
}

func (h *MutateHandler) change(r *http.Request, arrived time.Time, request *Request) (rewrite.Result, error) {
	ctx, cancel := within(r, arrived)
	defer cancel()
	request.review.Now, request.review.Done = h.Now(), ctx.Done()
	if h.Holds != nil && h.Holds() {
		request.review.Hold = policy.WillHold
	}
	plan := rewrite.New(h.Policies.Snapshot(), &request.review)
	set, err := h.gather(ctx, r, arrived, plan.Needs)
	if err != nil {
		return rewrite.Result{}, err
	}
	return plan.Result(set), nil
}

// record writes the metrics and, at the debug level, a line for each change.
func (h *MutateHandler) record(request *Request, result *rewrite.Result) {
	for range result.Undecided {
		h.Metrics.Undecided.Inc()
	}
	count := func(list []rewrite.Change, done string) {
		for i := range list {
			c := &list[i]
			outcome := done
			if outcome != "would" && c.Left != "" {
				if outcome = "left"; c.Conflict() {
					outcome = "conflict"
				}
			}
			h.Metrics.Mutations.WithLabelValues(c.Change, outcome).Inc()
			if log := h.Log.V(1); log.Enabled() {
				log.Info("Change", "uid", request.uid, "namespace", request.review.Namespace, "policy", c.Policy, "change", c.Change, "path", c.Path, "result", outcome)
			}
		}
	}
	count(result.Changes, "done")
	count(result.Left, "left")
	count(result.Would, "would")
}

// ownedPod is a pod with what tells who wrote which field.
type ownedPod struct {
	Metadata struct {
		metadata
		ManagedFields []metav1.ManagedFieldsEntry `json:"managedFields"`
	} `json:"metadata"`
	Spec podSpec `json:"spec"`
}

// ownedPods decodes reviews of pods that may be changed.
func ownedPods(body []byte) (*Request, error) {
	in, err := decode[*ownedPod](body, "a Pod")
	if err != nil {
		return nil, err
	}
	out := in.decoded()
	if in.Kind.Group != "" || in.Kind.Kind != "Pod" || in.Object == nil {
		return out, nil
	}
	out.kind = "Pod"
	typed := (&pod{Metadata: in.Object.Metadata.metadata, Spec: in.Object.Spec}).pod()
	typed.ManagedFields = in.Object.Metadata.ManagedFields
	out.review.Pod = workload.OfPod(typed)
	if out.review.Namespace == "" {
		out.review.Namespace = typed.Namespace
	}
	out.review.Values = values(body, &out.review)
	return out, nil
}

func patchAnswer(uid types.UID, result *rewrite.Result) (*admissionv1.AdmissionReview, error) {
	response := &admissionv1.AdmissionResponse{UID: uid, Allowed: true, Warnings: result.Warnings, AuditAnnotations: result.AuditAnnotations()}
	if r := result.Refusal; r != nil {
		response.Allowed, response.Result = false, refusal(r.Message, r.Code)
	}
	if len(result.Operations) > 0 {
		patch, err := json.Marshal(result.Operations)
		if err != nil {
			return nil, err
		}
		jsonPatch := admissionv1.PatchTypeJSONPatch
		response.Patch, response.PatchType = patch, &jsonPatch
	}
	return envelope(response), nil
}
