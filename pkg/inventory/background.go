package inventory

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/source"
)

// What the audit may read: little, and never from the budget of admission.
const (
	backgroundQPS   = 40
	backgroundBurst = 80
	// backgroundTries is how often a read is tried that brings no answer.
	backgroundTries = 3
	// backgroundPlaces is how many reads are under way at a time.
	backgroundPlaces = 2
	// maxSessionReads bounds the reads of one session: whoever may create pods in one
	// namespace must not keep the audit from all others.
	maxSessionReads = 2000
)

// background reads for those who can wait.
type background struct {
	inventory *Inventory
	reader    *reader
	limiter   flowcontrol.RateLimiter
}

func newBackground(config *rest.Config, v *Inventory, m *metrics.Metrics, log logr.Logger) (*background, error) {
	client, err := cluster.NewClient(config, v.reducer)
	if err != nil {
		return nil, err
	}
	r := newReader(client, backgroundPlaces, m, log.WithName("background"))
	r.onContents = v.keep
	return &background{inventory: v, reader: r, limiter: flowcontrol.NewTokenBucketRateLimiter(backgroundQPS, backgroundBurst)}, nil
}

// Session answers many judgements that can wait, such as those of one namespace in
// an audit. What it read live it reads once: an answer that came after the session
// began is fresh enough for all of it. It is for one goroutine.
type Session struct {
	background *background
	answers    map[flightKey]answer
	reads      int
	err        error
}

// Session begins one.
func (v *Inventory) Session() *Session {
	return &Session{background: v.background, answers: map[flightKey]answer{}}
}

// errNoAnswer is why a session came to nothing.
var errNoAnswer = errors.New("the API server does not answer") //nolint:gochecknoglobals // an error

// Err tells that the API server did not answer, so that what the session said is
// not to be believed; nil if it did.
func (s *Session) Err() error { return s.err }

// Gather implements source.Source: from the index what is there, and by a live read
// whatever a fault would rest on.
func (s *Session) Gather(ctx context.Context, now time.Time, needs func(*facts.Set) []facts.Query) *facts.Set {
	stack := source.Stack{Stores: []source.Store{s.background.inventory}, Reader: s}
	return stack.Gather(ctx, now, needs)
}

// Read implements source.Reader. What a session may not read any more is unknown: its
// namespace asks for too much.
func (s *Session) Read(ctx context.Context, _ time.Time, queries []facts.Query, known []facts.Fact) []facts.Fact {
	out := make([]facts.Fact, len(queries))
	for i := range queries {
		key := keyOf(&queries[i])
		key.asker = "" // it waits for its turn anyway
		a, ok := s.answers[key]
		switch {
		case ok:
		case s.reads < maxSessionReads:
			s.reads++
			a = s.get(ctx, key)
			s.answers[key] = a
		default:
			a = answer{fact: facts.Fact{Why: facts.TooManyLookups}}
		}
		out[i] = atLeast(&queries[i], a.to(&queries[i]), known[i])
	}
	return out
}

// get reads, and reads again where no answer came.
func (s *Session) get(ctx context.Context, key flightKey) answer {
	pause := time.Second
	for try := range backgroundTries {
		if s.background.limiter.Wait(ctx) != nil {
			break
		}
		a := s.background.reader.get(ctx, key, &flight{})
		s.background.inventory.metrics.Lookups.WithLabelValues(string(key.Kind), a.result()).Inc()
		if a.object != nil || a.fact.State != facts.Unknown || !passing(a.fact.Why) {
			return a
		}
		if try < backgroundTries-1 {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause *= 2
		}
	}
	s.err = errNoAnswer
	return answer{fact: facts.Fact{Why: facts.Failed}}
}

// passing reports whether another try may bring an answer.
func passing(why facts.Why) bool {
	return why == facts.Timeout || why == facts.Throttled || why == facts.Failed || why == facts.Unauthorized
}

// Settled reports whether refreshes have agreed long enough on what tokens and
// their CAs are verified by. Before that some are unknown that will be known.
func (v *Inventory) Settled() bool {
	return v.trust.Settled()
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
			out[name] = whole.Labels
		}
	}
	return out
}
