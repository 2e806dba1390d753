package admission

import (
	"context"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/intake"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/usage"
	"tokenward.dev/tokenward/pkg/workload"
)

// Users finds out who uses which Secrets and accounts in a namespace, by a look that
// starts after it is called. What it could not look at is in Unread.
type Users interface {
	Find(ctx context.Context, namespace string, whole bool) *usage.Users
}

// ObjectHandler judges Secrets or accounts that are deleted, created or changed. It is
// never in the way: what can't be judged is allowed.
type ObjectHandler struct {
	Endpoint
	// Kind is reference.Secret or reference.ServiceAccount.
	Kind  reference.Kind
	Users Users
}

// ServeHTTP implements http.Handler.
func (h *ObjectHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, func(arrived time.Time, body []byte, a *answered) error {
		in, err := decode[*policy.Guarded](body, "a "+string(h.Kind))
		if err != nil {
			return err
		}
		request := in.decoded()
		if in.Kind.Group == "" && in.Kind.Kind == string(h.Kind) {
			request.kind = in.Kind.Kind
		}
		a.kind, a.operation = request.kind, in.Operation
		verdict := policy.Verdict{Allowed: true}
		if request.kind == string(h.Kind) && in.SubResource == "" {
			verdict, err = h.judge(r, arrived, in)
		}
		if err != nil {
			return err
		}
		h.record(request, &verdict)
		a.outcome, a.review = verdict.Outcome(), answer(request.uid, &verdict)
		return nil
	}, h.unjudged)
}

func (h *ObjectHandler) judge(r *http.Request, arrived time.Time, in *request[*policy.Guarded]) (policy.Verdict, error) {
	request := &policy.GuardedRequest{
		Kind: h.Kind, Operation: in.Operation, Namespace: in.Namespace, Name: in.Name, UserInfo: in.UserInfo, Object: in.Object, Old: in.OldObject,
	}
	ctx, cancel := within(r, arrived)
	defer cancel()
	snapshot := h.Policies.Snapshot()
	if deletion := request.Deletion(); deletion != nil {
		deletion.Now, deletion.Done = h.Now(), ctx.Done()
		from := &deletionSource{handler: h, request: r, arrived: arrived, namespace: in.Namespace}
		verdict := snapshot.JudgeDeletion(deletion, from)
		return verdict, from.err
	}
	attributes := request.Attributes()
	attributes.Now, attributes.Done = h.Now(), ctx.Done()
	plan := snapshot.Plan(attributes)
	set, err := h.gather(ctx, r, arrived, plan.Needs)
	if err != nil {
		return policy.Verdict{}, err
	}
	return plan.Judge(set), nil
}

// deletionSource answers for one review.
type deletionSource struct {
	handler   *ObjectHandler
	request   *http.Request
	arrived   time.Time
	namespace string
	err       error // the client has gone
}

// Gather implements policy.DeletionSource.
func (s *deletionSource) Gather(needs func(*facts.Set) []facts.Query) *facts.Set {
	ctx, cancel := within(s.request, s.arrived)
	defer cancel()
	set, err := s.handler.gather(ctx, s.request, s.arrived, needs)
	if err != nil {
		s.err = err
		return &facts.Set{}
	}
	return set
}

// Users implements policy.DeletionSource.
func (s *deletionSource) Users(whole bool) *usage.Users {
	return s.handler.Users.Find(s.request.Context(), s.namespace, whole)
}

// Values implements policy.DeletionSource.
func (*deletionSource) Values(o *workload.Object) *policy.Values { return evaluate.Values(o) }

// unjudged lets pass what can't be judged.
func (*ObjectHandler) unjudged(head *intake.Head, refused *intake.Refusal) *admissionv1.AdmissionReview {
	if refused.Reason == intake.TooLarge {
		return pass(head, refused, "was not judged")
	}
	return nil // the failurePolicy is Ignore
}
