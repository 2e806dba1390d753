package inventory

import (
	"slices"
	"testing"
	"time"

	"k8s.io/client-go/util/flowcontrol"

	"tokenward.dev/tokenward/pkg/facts"
)

// A namespace with ever so many references takes the audit only so long, and leaves
// the next one its own reads.
func TestASessionReadsOnlySoMuch(t *testing.T) {
	config, api := startCountingAPI(t)
	v := startInventory(t, config, Options{})
	v.background.limiter = flowcontrol.NewFakeAlwaysRateLimiter()
	flood, session := secretsNamed("shop", "bogus", maxSessionReads+500), v.Session()
	for range 2 { // what is unread stays so
		absent, unread := 0, 0
		for pod := range slices.Chunk(flood, 100) {
			set := session.Gather(t.Context(), time.Now(), func(*facts.Set) []facts.Query { return pod })
			for i := range pod {
				switch f := set.Get(pod[i].Object); {
				case f.State == facts.Absent:
					absent++
				case f.State == facts.Unknown && f.Why == facts.TooManyLookups:
					unread++
				}
			}
		}
		if absent != maxSessionReads || unread != 500 || api.gets.Load() != maxSessionReads {
			t.Errorf("%d absent and %d unread by %d reads", absent, unread, api.gets.Load())
		}
	}
	if err := session.Err(); err != nil {
		t.Errorf("the rest is not to be believed: %v", err)
	}
	other := secretsNamed("bank", "gone", 1)
	set := v.Session().Gather(t.Context(), time.Now(), func(*facts.Set) []facts.Query { return other })
	if f := set.Get(other[0].Object); f.State != facts.Absent {
		t.Errorf("another namespace: got %+v", f)
	}
}
