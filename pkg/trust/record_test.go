package trust

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// share does what syncRecord does, and returns what the record holds then.
func (r *replica) share(held *recorded) (now *recorded, written bool) {
	r.history.merge(held, r.now)
	if !r.history.hasNews(held) {
		return held, false
	}
	return r.history.recorded(), true
}

// comeToRest lets replicas share a record in turn, until none of them has news.
func comeToRest(t *testing.T, held *recorded, replicas ...*replica) {
	t.Helper()
	for range 5 {
		writes := 0
		for _, r := range replicas {
			var written bool
			if held, written = r.share(held); written {
				writes++
			}
		}
		if writes == 0 {
			return
		}
	}
	t.Error("the replicas write the record for ever")
}

func TestReplicasComeToRestWhateverEachHasMet(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		a, b := newReplica(t), newReplica(t)
		for _, r := range []*replica{a, b} {
			r.refresh(0, newKey(t, "key"))
			for range 3000 {
				namespace := fmt.Sprint("namespace-", random.IntN(50))
				r.history.met.meet(fmt.Sprint("id-", random.IntN(4000)), namespace, r.now.Add(time.Duration(random.IntN(100))*time.Second))
			}
		}
		comeToRest(t, &recorded{}, a, b)
	}
}

func TestReplicasComeToRestWhereOneHasMetWhatAnotherSawPublished(t *testing.T) {
	a, b := newReplica(t), newReplica(t)
	key := newKey(t, "key")
	b.meet("other")
	a.refresh(0, key, newKey(t, "other"))
	b.refresh(0, key)
	comeToRest(t, &recorded{}, a, b)
}

func TestARecordThatHoldsTooMuchIsWrittenOnce(t *testing.T) {
	r := newReplica(t)
	r.refresh(0, newKey(t, "key"))
	held := &recorded{Met: []recordedMet{{ID: string(make([]byte, maxKeyID+1)), Namespace: "shop"}}}
	for i := range 2 * maxMetInNamespace {
		held.Met = append(held.Met, recordedMet{ID: fmt.Sprint(i), Namespace: "shop", First: r.now})
	}
	comeToRest(t, held, r)
}
