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

// readTimeout bounds one read. Reviews give up earlier, by their own deadlines.
const readTimeout = 2 * time.Second

// reader reads single objects from the API server. Requests share a read only
// if it started after each of them arrived: an answer that is older than the
// request may miss what was created just before it.
type reader struct {
	clients *clients
	metrics *metrics.Metrics
	log     logr.Logger

	mu      sync.Mutex
	flights map[flightKey]*flight
}

// flightKey tells reads apart: with keys the whole object must be read.
type flightKey struct {
	facts.Object
	whole bool
}

type flight struct {
	started time.Time
	done    chan struct{}
	found   found // valid once done is closed
}

// found is what a read brought, before it is cut down to what was asked.
type found struct {
	facts.Fact
	keys map[string]struct{}
}

func newReader(config *rest.Config, m *metrics.Metrics, log logr.Logger) (*reader, error) {
	c, err := newClients(config)
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	return &reader{clients: c, metrics: m, log: log, flights: map[flightKey]*flight{}}, nil
}

// read answers one query by a read that started after the request arrived.
func (r *reader) read(ctx context.Context, arrived time.Time, q *facts.Query) facts.Fact {
	f := r.join(ctx, arrived, flightKey{Object: q.Object, whole: len(q.Keys) > 0})
	select {
	case <-f.done:
		return f.found.cut(q.Keys)
	case <-ctx.Done():
		return facts.Fact{Why: facts.Timeout}
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
func (r *reader) join(ctx context.Context, arrived time.Time, key flightKey) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flights[key]; f != nil && !f.started.Before(arrived) {
		return f
	}
	f := &flight{started: time.Now(), done: make(chan struct{})}
	r.flights[key] = f
	// Others may wait for the same read: the end of this request must not end it.
	go r.fly(context.WithoutCancel(ctx), key, f)
	return f
}

func (r *reader) fly(ctx context.Context, key flightKey, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	got, err := r.clients.get(ctx, key.Object, key.whole)
	f.found = found{Fact: facts.Fact{State: facts.Present, Names: got.names, Labels: got.labels}, keys: got.keys}
	result := "present"
	if err != nil {
		f.found = found{Fact: unanswered(key.Name, err)}
		if result = "absent"; f.found.State != facts.Absent {
			result = string(f.found.Why)
			r.log.Info("Read failed", "kind", key.Kind, "namespace", key.Namespace, "name", key.Name, "error", err.Error())
		}
	}
	r.metrics.Lookups.WithLabelValues(string(key.Kind), result).Inc()
	r.mu.Lock()
	if r.flights[key] == f {
		delete(r.flights, key)
	}
	r.mu.Unlock()
	close(f.done)
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
