package inventory

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tokenward.dev/tokenward/pkg/facts"
)

const (
	// breakAfter is how many reads in a row must fail before none is tried any more.
	breakAfter = 10
	// probeEvery is how soon one read is tried again then.
	probeEvery = time.Second
	// answeredLately is for how long one answer shows that the API server answers.
	answeredLately = time.Second
)

// breaker keeps reads from an API server that does not answer them. While it is open
// one read a second is let through; as soon as one is answered, all are.
type breaker struct {
	mu       sync.Mutex
	failures int       // in a row
	why      facts.Why // the last one failed
	next     time.Time // when one may be tried again; zero: closed
	answered time.Time // when the last answer came
	open     prometheus.Gauge
}

func newBreaker(open prometheus.Gauge) *breaker { return &breaker{open: open} }

// refuses reports that no read may be tried now, and why the last one failed.
func (b *breaker) refuses(now time.Time) (facts.Why, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.why, now.Before(b.next)
}

// try notes that a read begins: while the breaker is open that is the probe.
func (b *breaker) try(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.next.IsZero() {
		b.next = now.Add(probeEvery)
	}
}

// note notes how a read ended: NoReason if the API server answered it, whatever it
// said.
func (b *breaker) note(why facts.Why, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch why {
	case facts.Timeout, facts.Failed, facts.Throttled:
		b.failures++
		b.why = why
		if b.failures >= breakAfter && b.next.IsZero() {
			b.next = now.Add(probeEvery)
			b.open.Set(1)
		}
	default:
		b.failures, b.next, b.answered = 0, time.Time{}, now
		b.open.Set(0)
	}
}

// answers reports whether the API server has answered lately.
func (b *breaker) answers(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return now.Sub(b.answered) < answeredLately
}
