package inventory

import (
	"sync"
	"time"
)

// How many reads a namespace may cause in a replica: so many at once, and so many a
// second for as long as it lasts. A roll-out of thousands of pods whose objects are in
// the index causes none at all; kube-controller-manager makes some 20 pods a second.
const (
	burst     = 300
	perSecond = 50
)

// rate is a token bucket for each namespace.
type rate struct {
	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	left float64
	at   time.Time
}

func newRate() *rate { return &rate{buckets: map[string]*bucket{}} }

// take takes so many from the bucket of a namespace, and reports whether they were
// there.
func (r *rate) take(namespace string, n int, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.buckets[namespace]
	if b == nil {
		r.forgetFull(now)
		b = &bucket{left: burst, at: now}
		r.buckets[namespace] = b
	}
	b.fill(now)
	if b.left < float64(n) {
		return false
	}
	b.left -= float64(n)
	return true
}

func (b *bucket) fill(now time.Time) {
	if now.After(b.at) {
		b.left, b.at = min(burst, b.left+perSecond*now.Sub(b.at).Seconds()), now
	}
}

// manyBuckets is from when on those are forgotten that are full again.
const manyBuckets = 256

func (r *rate) forgetFull(now time.Time) {
	if len(r.buckets) < manyBuckets || len(r.buckets)%manyBuckets != 0 {
		return
	}
	for namespace, b := range r.buckets {
		if b.fill(now); b.left >= burst {
			delete(r.buckets, namespace)
		}
	}
}
