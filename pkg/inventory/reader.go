package inventory

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/reference"
)

// readTimeout bounds one read, and how long it waits for its place. Reviews
// give up earlier, by their own deadlines.
const readTimeout = 2 * time.Second

const (
	// maxInFlight bounds how many reads are under way at a time.
	maxInFlight = 128
	// maxWhole bounds those of objects with all that they hold, of which each may
	// have a megabyte.
	maxWhole = 24
)

// reader reads from the API server. Requests share a read only if it started after
// each of them arrived: an answer that is older than the request may miss what was
// created just before it. A read ends when nobody waits for it any more.
type reader struct {
	client  *cluster.Client
	budget  *budget // of all reads
	whole   *budget // of those of whole objects
	breaker *breaker
	metrics *metrics.Metrics
	log     logr.Logger
	// onContents gets what was read of an object with what it holds.
	onContents func(facts.Object, *cluster.Object)

	mu      sync.Mutex
	flights map[flightKey]*flight
}

// flightKey tells reads apart: for what an object holds it must be read whole. No
// namespace waits for a read that another one's share pays for.
type flightKey struct {
	facts.Object
	contents bool
	asker    string
	list     bool // all names of the kind in the namespace
}

func keyOf(q *facts.Query) flightKey {
	return flightKey{Object: q.Object, contents: q.WantsContents(), asker: askerOf(q)}
}

// askerOf returns the namespace on whose behalf something is asked.
func askerOf(q *facts.Query) string {
	switch {
	case q.Asker != "":
		return q.Asker
	case q.Kind == namespaceKind:
		return q.Name
	}
	return q.Namespace
}

// flight is one read, queued or under way. All but the answer is guarded by reader.mu.
type flight struct {
	started time.Time // zero while it waits for its place in the budget
	waiters int
	cancel  context.CancelFunc
	before  *flight // a list that must end first; nil for none
	done    chan struct{}
	answer  answer // valid once done is closed
}

// answer is what a read brought, before it is cut down to what was asked.
type answer struct {
	object *cluster.Object // nil where the read brought none
	fact   facts.Fact      // what is known then
	names  map[string]bool // that a list brought; nil where it brought none
	// queued is set where the read never started: its place did not come.
	queued bool
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
	case a.names != nil:
		return "list"
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
		client: client, budget: newBudget(places), whole: newBudget(min(places, maxWhole)), breaker: newBreaker(m.BreakerOpen), metrics: m, log: log,
		onContents: func(facts.Object, *cluster.Object) {}, flights: map[flightKey]*flight{},
	}
}

// read answers one query by a read that started after the request arrived. pays is
// asked before a read is made that nobody else has begun; if it says no, there is none.
func (r *reader) read(ctx context.Context, arrived time.Time, q *facts.Query, pays func(reads int) bool) facts.Fact {
	a := r.ask(ctx, arrived, keyOf(q), func() bool { return pays(1) })
	return a.to(q)
}

func (r *reader) ask(ctx context.Context, arrived time.Time, key flightKey, pays func() bool) answer {
	for {
		f, own, refused := r.join(ctx, arrived, key, pays)
		if f == nil {
			r.metrics.Lookups.WithLabelValues(string(key.Kind), string(refused)).Inc()
			return answer{fact: facts.Fact{Why: refused}}
		}
		select {
		case <-f.done:
			if f.answer.queued && !own && ctx.Err() == nil {
				continue // another's patience ended, not ours
			}
			return f.answer
		case <-ctx.Done():
			return answer{fact: facts.Fact{Why: r.leave(key, f)}}
		}
	}
}

// join returns a read that started no earlier than the request arrived, a new
// one if there is none. It returns nil, and why, if there is none and the breaker is
// open, or nobody pays for one.
func (r *reader) join(ctx context.Context, arrived time.Time, key flightKey, pays func() bool) (f *flight, own bool, refused facts.Why) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.flights[key]
	if f := before; f != nil && (f.started.IsZero() || !f.started.Before(arrived)) {
		f.waiters++
		return f, false, facts.NoReason
	}
	now := time.Now()
	if why, refuses := r.breaker.refuses(now); refuses {
		return nil, false, why
	}
	if !pays() {
		return nil, false, facts.TooManyLookups
	}
	r.breaker.try(now)
	if !key.list {
		before = nil
	}
	// Others may wait for the same read: the end of this request must not end it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f = &flight{waiters: 1, cancel: cancel, before: before, done: make(chan struct{})}
	r.flights[key] = f
	go r.fly(ctx, key, f)
	return f, true, facts.NoReason
}

// leave ends a read for which nobody waits any more. It returns why the one who
// leaves has no answer: while his namespace has all the reads under way that are its
// share, and the API server answers them, that is its own doing.
func (r *reader) leave(key flightKey, f *flight) facts.Why {
	r.mu.Lock()
	queued := f.started.IsZero()
	if f.waiters--; f.waiters == 0 {
		f.cancel()
		r.forget(key, f)
	}
	r.mu.Unlock()
	if queued {
		return r.whyQueued(key)
	}
	return facts.Timeout
}

// whyQueued says why a place in the budget did not come in time.
func (r *reader) whyQueued(key flightKey) facts.Why {
	own := r.budget.hasShare(key.asker) || (key.contents && r.whole.hasShare(key.asker))
	if own && r.breaker.answers(time.Now()) {
		return facts.TooManyLookups
	}
	return facts.Throttled
}

func (r *reader) forget(key flightKey, f *flight) {
	if r.flights[key] == f {
		delete(r.flights, key)
	}
}

func (r *reader) fly(ctx context.Context, key flightKey, f *flight) {
	defer f.cancel()
	if f.before != nil { // one list at a time answers all who wait
		select {
		case <-f.before.done:
		case <-ctx.Done():
		}
		f.before = nil
	}
	f.answer = r.get(ctx, key, f)
	if ctx.Err() == nil || f.answer.object != nil {
		r.metrics.Lookups.WithLabelValues(string(key.Kind), f.answer.result()).Inc()
	}
	r.mu.Lock()
	r.forget(key, f)
	r.mu.Unlock()
	close(f.done)
}

// get reads within the budget. Only now does the read start: who arrived before
// may share it.
func (r *reader) get(ctx context.Context, key flightKey, f *flight) answer {
	release, err := r.acquire(ctx, key)
	if err != nil {
		return answer{fact: facts.Fact{Why: r.whyQueued(key)}, queued: true}
	}
	defer release()
	reading, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r.mu.Lock()
	f.started = time.Now()
	r.mu.Unlock()
	if key.list {
		names, err := r.client.Names(reading, key.Kind, key.Namespace)
		return answer{names: names, fact: facts.Fact{Why: cluster.WhyNot(err)}}
	}
	object, err := r.client.Get(reading, key.Object, key.contents)
	r.note(ctx, key.Kind, err)
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

// acquire waits for a place, and for one of whole objects where it needs that. The
// places must be released.
func (r *reader) acquire(ctx context.Context, key flightKey) (release func(), err error) {
	ctx, leave := context.WithTimeout(ctx, readTimeout)
	defer leave()
	if key.contents {
		if err := r.whole.acquire(ctx, key.asker); err != nil {
			return nil, err
		}
	}
	if err := r.budget.acquire(ctx, key.asker); err != nil {
		if key.contents {
			r.whole.release(key.asker)
		}
		return nil, err
	}
	return func() {
		r.budget.release(key.asker)
		if key.contents {
			r.whole.release(key.asker)
		}
	}, nil
}

// note tells the breaker how a read ended, unless those who waited left first. Callers
// must not be able to open it, since it is open for all namespaces: so lists do not
// count, which take as long as there is much to list, nor kinds that no watch brings,
// which may not be served.
func (r *reader) note(ctx context.Context, kind reference.Kind, err error) {
	switch kind {
	case reference.Secret, reference.ConfigMap, reference.ServiceAccount, namespaceKind:
		if ctx.Err() == nil {
			r.breaker.note(cluster.WhyNot(err), time.Now())
		}
	default:
	}
}
