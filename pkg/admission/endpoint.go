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
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	// Now is the time of the decision.
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

// answered is an answer with what metrics tell of it.
type answered struct {
	kind      string // from a closed set
	operation admissionv1.Operation
	outcome   string
	review    *admissionv1.AdmissionReview
}

// serve reads a body, lets judge answer it, and counts. An error of judge means
// that the body is not the review that it should be.
func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request, judge func(arrived time.Time, body []byte, a *answered) error) {
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
		e.Log.V(1).Info("The client did not take the answer", "path", e.Path, "error", err.Error())
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
func (e *Endpoint) read(w http.ResponseWriter, r *http.Request) ([]byte, *httpError) {
	if r.Method != http.MethodPost {
		return nil, &httpError{http.StatusMethodNotAllowed, "bad_request", errors.New("an AdmissionReview must be sent with POST")}
	}
	if e.Ready != nil && !e.Ready() {
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

// gather looks up what a review needs, within the time that the API server grants.
func (e *Endpoint) gather(r *http.Request, arrived time.Time, needs func(*facts.Set) []facts.Query) *facts.Set {
	// The server's shutdown cancels the request's context; a review in flight is
	// still answered in full.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(r.Context()), arrived.Add(gatherBudget(r.URL.Query().Get("timeout"))))
	defer cancel()
	return e.Source.Gather(ctx, arrived, needs)
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
