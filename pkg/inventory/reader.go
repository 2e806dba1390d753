package inventory

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
)

// readTimeout bounds one read, and how long it waits for its place. Reviews
// give up earlier, by their own deadlines.
const readTimeout = 2 * time.Second

// maxInFlight bounds how many reads are under way at a time.
const maxInFlight = 128

// reader reads single objects from the API server. Requests share a read only
// if it started after each of them arrived: an answer that is older than the
// request may miss what was created just before it.
type reader struct {
	clients *clients
	budget  *budget
	metrics *metrics.Metrics
	log     logr.Logger
	// onWhole gets what was read of an object with what it holds.
	onWhole func(facts.Object, *got)

	mu      sync.Mutex
	flights map[flightKey]*flight
}

// flightKey tells reads apart: with keys the whole object must be read.
type flightKey struct {
	facts.Object
	whole bool
}

// flight is one read, queued or under way. Its start is guarded by reader.mu.
type flight struct {
	started time.Time // zero while it waits for its place in the budget
	done    chan struct{}
	found   found // valid once done is closed
}

// found is what a read brought, before it is cut down to what was asked.
type found struct {
	facts.Fact
	keys map[string]struct{}
}

func newReader(config *rest.Config, s *signing, m *metrics.Metrics, log logr.Logger) (*reader, error) {
	c, err := newClients(config, s, m)
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	return &reader{
		clients: c, budget: newBudget(maxInFlight), metrics: m, log: log,
		onWhole: func(facts.Object, *got) {}, flights: map[flightKey]*flight{},
	}, nil
}

// read answers one query by a read that started after the request arrived.
func (r *reader) read(ctx context.Context, arrived time.Time, q *facts.Query) facts.Fact {
	for {
		f, own := r.join(ctx, arrived, flightKey{Object: q.Object, whole: len(q.Keys) > 0 || q.Inside})
		select {
		case <-f.done:
			if f.found.Why == facts.Throttled && !own && ctx.Err() == nil && f.started.IsZero() {
				continue // another's patience ended, not ours
			}
			return f.found.cut(q.Keys)
		case <-ctx.Done():
			return facts.Fact{Why: facts.Timeout}
		}
	}
}

// cut answers for the keys that were asked.
func (f *found) cut(keys []string) facts.Fact {
	out := f.Fact
	if f.State != facts.Present || len(keys) == 0 {
		return out
	}
	out.Keys = make(map[string]facts.State, len(keys))
	for _, k := range keys {
		out.Keys[k] = facts.Absent
		if _, ok := f.keys[k]; ok {
			out.Keys[k] = facts.Present
		}
	}
	return out
}

// join returns a read that started no earlier than the request arrived, a new
// one if there is none.
func (r *reader) join(ctx context.Context, arrived time.Time, key flightKey) (f *flight, own bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flights[key]; f != nil && (f.started.IsZero() || !f.started.Before(arrived)) {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	r.flights[key] = f
	// Others may wait for the same read: the end of this request must not end it.
	go r.fly(context.WithoutCancel(ctx), key, f)
	return f, true
}

func (r *reader) fly(ctx context.Context, key flightKey, f *flight) {
	f.found = r.get(ctx, key, f)
	r.metrics.Lookups.WithLabelValues(string(key.Kind), f.found.result()).Inc()
	r.mu.Lock()
	if r.flights[key] == f {
		delete(r.flights, key)
	}
	r.mu.Unlock()
	close(f.done)
}

// get reads within the budget. Only now does the read start: who arrived before
// may share it.
func (r *reader) get(ctx context.Context, key flightKey, f *flight) found {
	queue, leave := context.WithTimeout(ctx, readTimeout)
	defer leave()
	if err := r.budget.acquire(queue, key.Namespace); err != nil {
		return found{Fact: facts.Fact{Why: facts.Throttled}}
	}
	defer r.budget.release(key.Namespace)
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r.mu.Lock()
	f.started = time.Now()
	r.mu.Unlock()
	got, err := r.clients.get(ctx, key.Object, key.whole)
	if err != nil {
		fact := unanswered(key.Name, err)
		if fact.State != facts.Absent {
			r.log.V(1).Info("Read failed", "kind", key.Kind, "namespace", key.Namespace, "name", key.Name, "why", fact.Why)
		}
		return found{Fact: fact}
	}
	if key.whole {
		r.onWhole(key.Object, &got)
	}
	fact := facts.Fact{
		State: facts.Present, Names: got.names, Fresh: true,
		Inside: key.whole, UID: string(got.uid), Deleting: got.deleting, Secret: got.secret, Account: got.account,
	}
	if got.whole != nil {
		fact.Labels, fact.Whole = got.whole.labels, got.whole.fields
	}
	return found{Fact: fact, keys: got.keys}
}

// result is the label of the metric.
func (f *found) result() string {
	if f.State == facts.Unknown {
		return string(f.Why)
	}
	return f.State.String()
}

// unanswered turns an error into a fact. Only the API server's own word that
// this very object does not exist makes it absent.
func unanswered(name string, err error) facts.Fact {
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status) && status.Status().Code == http.StatusNotFound:
		if isAboutObject(status.Status(), name) {
			return facts.Fact{State: facts.Absent}
		}
		return facts.Fact{Why: facts.NotServed}
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return facts.Fact{Why: facts.Forbidden}
	case apierrors.IsTooManyRequests(err):
		return facts.Fact{Why: facts.Throttled}
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return facts.Fact{Why: facts.Timeout}
	}
	return facts.Fact{Why: facts.Failed}
}

// isAboutObject tells "no such object" from "no such resource", for which the
// API server (or a proxy before it) answers with plain text.
func isAboutObject(s metav1.Status, name string) bool {
	if s.Reason != metav1.StatusReasonNotFound || s.Details == nil || s.Details.Name != name {
		return false
	}
	for _, c := range s.Details.Causes {
		if c.Type == metav1.CauseTypeUnexpectedServerResponse {
			return false
		}
	}
	return true
}
