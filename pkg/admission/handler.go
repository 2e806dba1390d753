// Package admission holds the webhooks: HTTP handlers that decode a review,
// gather the facts that the policies need, let them judge, and answer. No rule
// of the game lives here; see package policy.
package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/source"
)

const (
	// maxBody is above what an API server sends: it takes requests of up to
	// 3 MiB, and a review carries the object and the old object.
	maxBody = 12 << 20
	// bodyTimeout bounds how long a client may take to send its body, and to
	// read the answer.
	bodyTimeout = 10 * time.Second
	// gatherTimeout bounds the look-ups of a review.
	gatherTimeout = 2 * time.Second
	// defaultTimeout is what the API server grants a webhook that names none.
	defaultTimeout = 10 * time.Second
)

// Policies gives the policies in force.
type Policies interface {
	Snapshot() *policy.Snapshot
}

// Handler judges pods, or the pods that workloads stand for. All fields are
// required but AtMost.
type Handler struct {
	// Path the handler is served at; it labels metrics.
	Path string
	// Decode reads the body of a review: Pods, or Workloads.
	Decode Decoder
	// AtMost is the strongest action that comes of it; Deny if empty.
	AtMost   v1alpha1.Action
	Policies Policies
	Source   source.Source
	// Ready reports whether everything that a judgement stands on is there.
	Ready func() bool
	// Now is the time of the judgement.
	Now     func() time.Time
	Metrics *metrics.Metrics
	Log     logr.Logger
}

// httpError is an answer that is no verdict: the failurePolicy decides.
type httpError struct {
	code    int
	outcome string
	err     error
}

func (e *httpError) Error() string { return e.err.Error() }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := endpoint{path: h.Path, ready: h.Ready, metrics: h.Metrics, log: h.Log}
	e.serve(w, r, func(arrived time.Time, body []byte, a *answered) error {
		request, err := h.Decode(body)
		if err != nil {
			return err
		}
		a.kind, a.operation = request.kind, request.review.Operation
		verdict := h.judge(r, arrived, request)
		h.record(request, &verdict)
		a.outcome, a.review = verdict.Outcome(), answer(request.uid, &verdict)
		return nil
	})
}

// endpoint is what all webhooks share: how a review comes in and goes out.
type endpoint struct {
	path    string
	ready   func() bool
	metrics *metrics.Metrics
	log     logr.Logger
}

// answered is an answer with what metrics tell of it.
type answered struct {
	kind      string // from a closed set
	operation admissionv1.Operation
	outcome   string
	review    *admissionv1.AdmissionReview
}

// serve reads a body, lets judge answer it, and counts. An error of judge means
// that the body is not the review that it should be.
func (e *endpoint) serve(w http.ResponseWriter, r *http.Request, judge func(arrived time.Time, body []byte, a *answered) error) {
	arrived := time.Now()
	a := &answered{kind: "other", operation: "unknown", outcome: "error"}
	defer func() {
		if p := recover(); p != nil {
			e.log.Error(panicError(p), "Panic in a review; answered 500", "path", e.path, "stack", string(debug.Stack()))
			http.Error(w, "internal error", http.StatusInternalServerError)
		}
		e.metrics.Reviews.WithLabelValues(e.path, a.kind, operationLabel(a.operation), a.outcome).Inc()
		e.metrics.ReviewDuration.WithLabelValues(e.path).Observe(time.Since(arrived).Seconds())
	}()
	body, refused := e.read(w, r)
	if refused != nil {
		a.outcome = refused.outcome
		http.Error(w, refused.Error(), refused.code)
		return
	}
	if err := judge(arrived, body, a); err != nil {
		a.outcome = "bad_request"
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a.review); err != nil {
		e.log.V(1).Info("The client did not take the answer", "path", e.path, "error", err.Error())
	}
}

// panicError tells what the runtime says of a panic. Any other value is named
// by its type alone: it might hold a part of the object.
func panicError(p any) error {
	if err, ok := p.(runtime.Error); ok {
		return err
	}
	return fmt.Errorf("panic with a %T", p)
}

// read returns the body of a review.
func (e *endpoint) read(w http.ResponseWriter, r *http.Request) ([]byte, *httpError) {
	if r.Method != http.MethodPost {
		return nil, &httpError{http.StatusMethodNotAllowed, "bad_request", errors.New("an AdmissionReview must be sent with POST")}
	}
	if !e.ready() {
		return nil, &httpError{http.StatusServiceUnavailable, "not_ready", errors.New("not ready to judge: caches or policies are not loaded yet")}
	}
	// A body that never ends must not hold the connection; errors mean that the
	// transport has no deadlines, as in unit tests.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout))
	_ = control.SetWriteDeadline(time.Now().Add(2 * bodyTimeout))
	body, err := readBody(http.MaxBytesReader(w, r.Body, maxBody), r.ContentLength)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &httpError{http.StatusRequestEntityTooLarge, "bad_request", fmt.Errorf("the body is larger than %d bytes", maxBody)}
	} else if err != nil {
		return nil, &httpError{http.StatusBadRequest, "bad_request", fmt.Errorf("the body could not be read: %w", err)}
	}
	return body, nil
}

// readBody reads into one buffer of the announced length, where there is one.
func readBody(from io.Reader, length int64) ([]byte, error) {
	if length <= 0 || length > maxBody {
		return io.ReadAll(from)
	}
	body := make([]byte, length)
	n, err := io.ReadFull(from, body)
	return body[:n], err
}

func (h *Handler) judge(r *http.Request, arrived time.Time, request *Request) policy.Verdict {
	request.review.AtMost, request.review.Now = h.AtMost, h.Now()
	plan := h.Policies.Snapshot().Plan(&request.review)
	verdict := plan.Judge(gather(h.Source, r, arrived, plan.Needs))
	verdict.Warnings = append(verdict.Warnings, request.warnings...)
	return verdict
}

// gather looks up what a review needs, within the time that the API server grants.
func gather(from source.Source, r *http.Request, arrived time.Time, needs func(*facts.Set) []facts.Query) *facts.Set {
	// The server's shutdown cancels the request's context; a review in flight is
	// still answered in full.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(r.Context()), arrived.Add(gatherBudget(r.URL.Query().Get("timeout"))))
	defer cancel()
	return from.Gather(ctx, arrived, needs)
}

// gatherBudget leaves a second of the API server's own time-out, which it
// sends rounded up to seconds.
func gatherBudget(timeout string) time.Duration {
	granted, err := time.ParseDuration(timeout)
	if err != nil || granted <= 0 {
		granted = defaultTimeout
	}
	if granted <= time.Second {
		return granted / 2
	}
	return min(gatherTimeout, granted-time.Second)
}

// record writes the metrics and, at the debug level, a line for each finding.
func (h *Handler) record(request *Request, v *policy.Verdict) {
	for _, u := range v.Undecided {
		h.Metrics.Undecided.Inc()
		h.Log.V(1).Info("Whether a policy matches is unknown", "uid", request.uid, "policy", u.Policy, "why", u.Why)
	}
	for _, part := range []struct {
		counter  *prometheus.CounterVec
		message  string
		findings []policy.Finding
	}{{h.Metrics.Findings, "Finding", v.Findings}, {h.Metrics.WouldFindings, "Would have acted", v.Would}} {
		for i := range part.findings {
			f := &part.findings[i]
			part.counter.WithLabelValues(f.Check, string(f.Action), f.State.String()).Inc()
			if log := h.Log.V(1); log.Enabled() {
				log.Info(part.message, "uid", request.uid, "namespace", request.review.Namespace, "operation", request.review.Operation,
					"check", f.Check, "action", f.Action, "state", f.State.String(), "object", f.Object.String(), "path", f.Path)
			}
		}
	}
}

// operationLabel keeps the label set closed.
func operationLabel(o admissionv1.Operation) string {
	switch o {
	case admissionv1.Create, admissionv1.Update, admissionv1.Delete, admissionv1.Connect:
		return string(o)
	}
	return "unknown"
}
