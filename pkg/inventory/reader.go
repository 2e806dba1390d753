package inventory

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"tokenward.dev/tokenward/pkg/cluster"
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
	client  *cluster.Client
	budget  *budget
	metrics *metrics.Metrics
	log     logr.Logger
	// onContents gets what was read of an object with what it holds.
	onContents func(facts.Object, *cluster.Object)

	mu      sync.Mutex
	flights map[flightKey]*flight
}

// flightKey tells reads apart: for what an object holds it must be read whole.
type flightKey struct {
	facts.Object
	contents bool
}

func keyOf(q *facts.Query) flightKey {
	return flightKey{Object: q.Object, contents: q.WantsContents()}
}

// flight is one read, queued or under way. Its start is guarded by reader.mu.
type flight struct {
	started time.Time // zero while it waits for its place in the budget
	done    chan struct{}
	answer  answer // valid once done is closed
}

// answer is what a read brought, before it is cut down to what was asked.
type answer struct {
	object *cluster.Object // nil where the read brought none
	fact   facts.Fact      // what is known then
}

// to answers a query.
func (a *answer) to(q *facts.Query) facts.Fact {
	if a.object == nil {
		return a.fact
	}
	f := a.object.Fact(q)
	f.Fresh = true
	return f
}

// result is the label of the metric.
func (a *answer) result() string {
	switch {
	case a.object != nil && a.object.KeyState == nil:
		return facts.Present.String()
	case a.object != nil:
		return a.object.KeyState.String()
	case a.fact.State == facts.Unknown:
		return string(a.fact.Why)
	}
	return a.fact.State.String()
}

func newReader(client *cluster.Client, places int, m *metrics.Metrics, log logr.Logger) *reader {
	return &reader{
		client: client, budget: newBudget(places), metrics: m, log: log,
		onContents: func(facts.Object, *cluster.Object) {}, flights: map[flightKey]*flight{},
	}
}

// read answers one query by a read that started after the request arrived.
func (r *reader) read(ctx context.Context, arrived time.Time, q *facts.Query) facts.Fact {
	for {
		f, own := r.join(ctx, arrived, keyOf(q))
		select {
		case <-f.done:
			if f.answer.fact.Why == facts.Throttled && !own && ctx.Err() == nil && f.started.IsZero() {
				continue // another's patience ended, not ours
			}
			return f.answer.to(q)
		case <-ctx.Done():
			return facts.Fact{Why: facts.Timeout}
		}
	}
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
	f.answer = r.get(ctx, key, f)
	r.metrics.Lookups.WithLabelValues(string(key.Kind), f.answer.result()).Inc()
	r.mu.Lock()
	if r.flights[key] == f {
		delete(r.flights, key)
	}
	r.mu.Unlock()
	close(f.done)
}

// get reads within the budget. Only now does the read start: who arrived before
// may share it.
func (r *reader) get(ctx context.Context, key flightKey, f *flight) answer {
	queue, leave := context.WithTimeout(ctx, readTimeout)
	defer leave()
	if err := r.budget.acquire(queue, key.Namespace); err != nil {
		return answer{fact: facts.Fact{Why: facts.Throttled}}
	}
	defer r.budget.release(key.Namespace)
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r.mu.Lock()
	f.started = time.Now()
	r.mu.Unlock()
	object, err := r.client.Get(ctx, key.Object, key.contents)
	if err != nil {
		fact := cluster.Unanswered(key.Name, err)
		if fact.State != facts.Absent {
			r.log.V(1).Info("Read failed", "kind", key.Kind, "namespace", key.Namespace, "name", key.Name, "why", fact.Why)
		}
		return answer{fact: fact}
	}
	if object.Contents {
		r.onContents(key.Object, object)
	}
	return answer{object: object}
}
