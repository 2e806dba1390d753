package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// source is where the decisions of one seed come from.
type source struct{ *rand.Rand }

func newSource(seed uint64) *source {
	return &source{rand.New(rand.NewPCG(seed, 0x746f6b656e776172))} //nolint:gosec // a simulator must replay
}

// chance is true in so many percent of the cases.
func (s *source) chance(percent int) bool { return s.IntN(100) < percent }

func (s *source) between(low, high time.Duration) time.Duration {
	return low + time.Duration(s.Int64N(int64(high-low)))
}

func pick[T any](s *source, from []T) T { return from[s.IntN(len(from))] }

// noise is a number that depends on the seed and on what it is for, and on
// nothing else: it does not matter who asks first.
func noise(seed uint64, what ...any) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, seed)
	for _, w := range what {
		_, _ = fmt.Fprint(h, "/", w)
	}
	n := h.Sum64()
	// The end of splitmix64: the low bits of FNV alone are not random enough.
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
