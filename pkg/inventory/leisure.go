package inventory

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
)

// What the audit may read: little, and never from the budget of admission.
const (
	leisureQPS   = 40
	leisureBurst = 80
	// leisureTries is how often a read is tried that brings no answer.
	leisureTries = 3
)

// leisure reads for those who have time.
type leisure struct {
	inventory *Inventory
	reader    *reader
	limiter   flowcontrol.RateLimiter
}

func newLeisure(config *rest.Config, v *Inventory, m *metrics.Metrics, log logr.Logger) (*leisure, error) {
	r, err := newReader(config, v.signing, m, log.WithName("leisure"))
	if err != nil {
		return nil, err
	}
	r.budget, r.onWhole = newBudget(2), v.keep
	return &leisure{inventory: v, reader: r, limiter: flowcontrol.NewTokenBucketRateLimiter(leisureQPS, leisureBurst)}, nil
}

// Session answers many judgements that need not hurry, such as those of one
// namespace in an audit. What it read live it reads once: an answer that came
// after the session began is fresh enough for all of it. It is for one goroutine.
type Session struct {
	leisure *leisure
	read    map[flightKey]found
	err     error
}

// Session begins one.
func (v *Inventory) Session() *Session {
	return &Session{leisure: v.leisure, read: map[flightKey]found{}}
}

// errNoAnswer is why a session came to nothing.
var errNoAnswer = errors.New("the API server does not answer") //nolint:gochecknoglobals // an error

// Err tells that the API server did not answer, so that what the session said is
// not to be believed; nil if it did.
func (s *Session) Err() error { return s.err }

// Gather answers what a judgement needs: from the index what is there, and by a
// live read whatever a fault would rest on.
func (s *Session) Gather(ctx context.Context, needs func(*facts.Set) []facts.Query) *facts.Set {
	return facts.Collect(needs, func(queries []facts.Query, set *facts.Set) {
		for i := range queries {
			set.Put(queries[i].Object, s.answer(ctx, &queries[i]))
		}
	})
}

func (s *Session) answer(ctx context.Context, q *facts.Query) facts.Fact {
	if f, ok := s.leisure.inventory.indexed(q, time.Now()); ok {
		return f
	}
	key := flightKey{Object: q.Object, whole: len(q.Keys) > 0 || q.Inside}
	f, ok := s.read[key]
	if !ok {
		f = s.get(ctx, key)
		s.read[key] = f
	}
	return s.leisure.inventory.atLeast(q, f.cut(q.Keys), time.Now())
}

// get reads, and reads again where no answer came.
func (s *Session) get(ctx context.Context, key flightKey) (f found) {
	pause := time.Second
	for try := range leisureTries {
		if s.leisure.limiter.Wait(ctx) != nil {
			break
		}
		f = s.leisure.reader.get(ctx, key, &flight{})
		s.leisure.inventory.metrics.Lookups.WithLabelValues(string(key.Kind), f.result()).Inc()
		if f.State != facts.Unknown || (f.Why != facts.Timeout && f.Why != facts.Throttled && f.Why != facts.Failed) {
			return f
		}
		if try < leisureTries-1 {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause *= 2
		}
	}
	s.err = errNoAnswer
	return found{Fact: facts.Fact{Why: facts.Failed}}
}

// Settled reports whether refreshes have agreed long enough on what tokens and
// their CAs are verified by. Before that some are unknown that will be known.
func (v *Inventory) Settled() bool {
	t := v.signing.Trust()
	return t.keys.Settled() && t.chainsSettled
}

// Namespaces returns the labels of all namespaces, by name, but for those that are
// being deleted. They are not to be written to.
func (v *Inventory) Namespaces() map[string]map[string]string {
	x := v.watched[namespaceKind].index
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := make(map[string]map[string]string, len(x.whole))
	for name, whole := range x.whole {
		if !x.namespaces[""][name].deleting {
			out[name] = whole.labels
		}
	}
	return out
}
