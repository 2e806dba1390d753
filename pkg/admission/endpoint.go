package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/intake"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/source"
)

const (
	// answerTimeout is how long a client may take to read the answer.
	answerTimeout = 10 * time.Second
	// gatherTimeout bounds the look-ups of a review.
	gatherTimeout = 2 * time.Second
	// defaultTimeout is what the API server grants a webhook that names none, and
	// maxTimeout the most that it grants any.
	defaultTimeout, maxTimeout = 10 * time.Second, 30 * time.Second
)

// Policies gives the policies in force.
type Policies interface {
	Snapshot() *policy.Snapshot
}

// Endpoint is what all webhooks share: whom they ask, and how a review comes in
// and goes out. All fields are required, but where a handler says otherwise.
type Endpoint struct {
	// Path the handler is served at; it labels metrics.
	Path     string
	Policies Policies
	Source   source.Source
	// Ready reports whether everything that a decision stands on is there. A
	// handler without it is always ready.
	Ready func() bool
	// Gate bounds what all reviews together cost.
	Gate *intake.Gate
	// Now is the time of the decision.
	Now     func() time.Time
	Metrics *metrics.Metrics
	Log     logr.Logger
}

// answered is an answer with what metrics tell of it.
type answered struct {
	kind      string // from a closed set
	operation admissionv1.Operation
	outcome   string
	review    *admissionv1.AdmissionReview
}

// errGone says that nobody waits for an answer any more.
var errGone = errors.New("the client has gone")

// judge answers the review in a body. An error means that the body is not the review
// that it should be, or errGone.
type judge func(arrived time.Time, body []byte, a *answered) error

// unjudged answers a review that can't be judged, of which there is the head. It
// returns nil where the failurePolicy shall decide.
type unjudged func(head *intake.Head, refused *intake.Refusal) *admissionv1.AdmissionReview

// serve reads a body, lets judge answer it once it is its turn, and counts.
func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request, judge judge, unjudged unjudged) {
	arrived := time.Now()
	a := &answered{kind: "other", operation: "unknown", outcome: "error"}
	defer func() {
		if p := recover(); p != nil {
			e.Log.Error(panicError(p), "Panic in a review; answered 500", "path", e.Path, "stack", string(debug.Stack()))
			http.Error(w, "internal error", http.StatusInternalServerError)
		}
		e.Metrics.Reviews.WithLabelValues(e.Path, a.kind, operationLabel(a.operation), a.outcome).Inc()
		e.Metrics.ReviewDuration.WithLabelValues(e.Path).Observe(time.Since(arrived).Seconds())
	}()
	if r.Method != http.MethodPost {
		a.outcome = "bad_request"
		http.Error(w, "an AdmissionReview must be sent with POST", http.StatusMethodNotAllowed)
		return
	}
	if e.Ready != nil && !e.Ready() {
		a.outcome = "not_ready"
		http.Error(w, "not ready to judge: caches or policies are not loaded yet", http.StatusServiceUnavailable)
		return
	}
	visit, err := e.Gate.Enter(w, r, arrived.Add(intakeBudget(granted(r))))
	var body []byte
	if err == nil {
		defer visit.Leave()
		body, err = e.admit(visit, r)
	}
	if err == nil {
		err = judge(arrived, body, a)
	} else if a.review = e.turnedAway(body, err, a, unjudged); a.review != nil {
		err = nil
	}
	if err != nil {
		e.fail(w, r, err, a)
		return
	}
	if visit != nil {
		visit.Answer(time.Now().Add(answerTimeout))
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a.review); err != nil {
		e.Log.V(1).Info("The client did not take the answer", "path", e.Path, "error", err.Error())
	}
}

// admit reads a body, and waits until it may be judged.
func (e *Endpoint) admit(visit *intake.Visit, r *http.Request) ([]byte, error) {
	body, err := visit.Body(r)
	if err != nil {
		return body, err
	}
	weight := intake.Weigh(body)
	if weight.Bytes > e.Gate.MaxWeight() {
		return body, &intake.Refusal{Reason: intake.TooLarge, Message: weight.String()}
	}
	return body, visit.Admit(weight.Bytes)
}

// turnedAway answers a review that was not let in, as far as a review can be answered
// at all of which only the start may have come.
func (e *Endpoint) turnedAway(body []byte, err error, a *answered, unjudged unjudged) *admissionv1.AdmissionReview {
	var refused *intake.Refusal
	if !errors.As(err, &refused) {
		return nil
	}
	e.Metrics.RequestsRefused.WithLabelValues(string(refused.Reason)).Inc()
	a.outcome = string(refused.Reason)
	if refused.Reason != intake.Busy && refused.Reason != intake.TooLarge {
		a.outcome = "bad_request"
		return nil
	}
	head, ok := intake.ReadHead(body)
	if !ok {
		return nil
	}
	a.operation = admissionv1.Operation(head.Operation)
	return unjudged(&head, refused)
}

// fail answers with an HTTP status: the failurePolicy decides.
func (e *Endpoint) fail(w http.ResponseWriter, r *http.Request, err error, a *answered) {
	var refused *intake.Refusal
	switch {
	case r.Context().Err() != nil || errors.Is(err, errGone):
		a.outcome = "gone"
	case errors.As(err, &refused):
		if refused.Reason == intake.Busy {
			w.Header().Set("Retry-After", "1")
		}
		http.Error(w, refused.Error(), statusOf(refused.Reason))
	default:
		a.outcome = "bad_request"
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func statusOf(reason intake.Reason) int {
	switch reason {
	case intake.Busy:
		return http.StatusTooManyRequests
	case intake.TooLarge:
		return http.StatusRequestEntityTooLarge
	case intake.TooSlow:
		return http.StatusRequestTimeout
	case intake.TooManyHeaders:
		return http.StatusRequestHeaderFieldsTooLarge
	case intake.BrokenBody:
	}
	return http.StatusBadRequest
}

// panicError tells what the runtime says of a panic. Any other value is named
// by its type alone: it might hold a part of the object.
func panicError(p any) error {
	if err, ok := p.(runtime.Error); ok {
		return err
	}
	return fmt.Errorf("panic with a %T", p)
}

// within returns the context of the look-ups and the conditions of a review. It ends
// with the time that the API server grants, and when the client has gone. A shutdown
// is no reason to end: a review in flight is answered in full.
func within(r *http.Request, arrived time.Time) (context.Context, context.CancelFunc) {
	timeout := granted(r)
	deadline := time.Now().Add(gatherBudget(timeout)) // from now on, for it may have waited for its turn
	if last := arrived.Add(timeout - margin(timeout)); deadline.After(last) {
		deadline = last
	}
	return context.WithDeadline(r.Context(), deadline)
}

// gather looks up what a review needs.
func (e *Endpoint) gather(ctx context.Context, r *http.Request, arrived time.Time, needs func(*facts.Set) []facts.Query) (*facts.Set, error) {
	set := e.Source.Gather(ctx, arrived, needs)
	if r.Context().Err() != nil {
		return nil, errGone
	}
	return set, nil
}

// granted is the time-out of the API server, which it sends rounded up to seconds.
func granted(r *http.Request) time.Duration {
	timeout, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || timeout <= 0 {
		return defaultTimeout
	}
	return min(timeout, maxTimeout)
}

// margin is what is left of a time-out for the answer to travel.
func margin(timeout time.Duration) time.Duration { return min(time.Second, timeout/4) }

// gatherBudget is for the look-ups.
func gatherBudget(timeout time.Duration) time.Duration {
	if timeout <= time.Second {
		return timeout / 2
	}
	return min(gatherTimeout, timeout-time.Second)
}

// intakeBudget is for the body to arrive, and to wait for a turn. It leaves time for
// the look-ups.
func intakeBudget(timeout time.Duration) time.Duration {
	return max(timeout-gatherTimeout-time.Second, timeout/4)
}

// operationLabel keeps the label set closed.
func operationLabel(o admissionv1.Operation) string {
	switch o {
	case admissionv1.Create, admissionv1.Update, admissionv1.Delete, admissionv1.Connect:
		return string(o)
	}
	return "unknown"
}

// envelope puts a response into the review that the API server waits for.
func envelope(response *admissionv1.AdmissionResponse) *admissionv1.AdmissionReview {
	return &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: response,
	}
}
