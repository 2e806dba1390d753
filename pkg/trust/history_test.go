package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/token"
)

// replica plays refreshes against a history with a clock of its own.
type replica struct {
	t       *testing.T
	history *history
	options Options
	now     time.Time
}

func newReplica(t *testing.T) *replica {
	o := Options{Settle: 10 * time.Minute}
	return &replica{t: t, options: o, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), history: newHistory(&o)}
}

// another returns a replica that has just started and has read what the first one
// shares.
func (r *replica) another() *replica {
	other := newReplica(r.t)
	other.now = r.now
	data, err := json.Marshal(r.history.recorded())
	if err != nil {
		r.t.Fatal(err)
	}
	var shared recorded
	if err := json.Unmarshal(data, &shared); err != nil {
		r.t.Fatal(err)
	}
	other.history.merge(&shared, other.now)
	return other
}

func newKey(t *testing.T, id string) token.Key {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return token.Key{ID: id, Public: key.Public()}
}

// refresh brings some keys after a while; none is a refresh that fails.
func (r *replica) refresh(after time.Duration, keys ...token.Key) {
	r.now = r.now.Add(after)
	if len(keys) > 0 {
		r.history.addKeys(keys, "https://issuer.test", r.now)
	}
}

func (r *replica) times(n int, after time.Duration, keys ...token.Key) {
	for range n {
		r.refresh(after, keys...)
	}
}

func (r *replica) meet(id string) { r.history.met.meet(id, "shop", r.now) }

func (r *replica) want(when, id string, want facts.State) {
	r.t.Helper()
	if got := r.history.key(id, r.now); got != want {
		r.t.Errorf("%s: key %q is %s, want %s", when, id, got, want)
	}
	accepted := r.history.trust(&r.options, r.now).keys.Knows(id)
	if accepted != (want == facts.Present) {
		r.t.Errorf("%s: key %q is accepted: %t", when, id, accepted)
	}
}

func TestAKeyThatWasPublishedIsGoneOnceAllRefreshesOverSettleLackIt(t *testing.T) {
	r := newReplica(t)
	before, after := newKey(t, "old"), newKey(t, "new")
	r.refresh(0, before)
	r.want("at the start", "old", facts.Present)
	r.times(20, time.Minute, before)
	r.refresh(time.Minute, after)
	r.want("right after the rotation", "new", facts.Present)
	r.want("right after the rotation", "old", facts.Present)
	r.times(8, time.Minute, after)
	r.want("nine minutes after", "old", facts.Present)
	r.refresh(time.Minute, before)
	r.times(9, time.Minute, after)
	r.want("after one more API server that shows it", "old", facts.Present)
	r.refresh(time.Minute, after)
	r.want("ten minutes after that", "old", facts.Absent)
	r.refresh(time.Minute, before)
	r.want("when it comes back", "old", facts.Present)
}

func TestAKeyThatWasNeverPublishedIsGoneByWhenATokenShowedIt(t *testing.T) {
	r := newReplica(t)
	key := newKey(t, "a")
	r.times(30, time.Minute, key)
	r.want("though refreshes have agreed for half an hour", "other", facts.Unknown)
	r.meet("other")
	r.times(9, time.Minute, key)
	r.want("nine minutes after it was met", "other", facts.Unknown)
	r.refresh(time.Minute, key)
	r.want("ten minutes after", "other", facts.Absent)
	r.refresh(time.Minute, newKey(t, "other"), key)
	r.want("once it is published", "other", facts.Present)

	slow := newReplica(t)
	slow.refresh(0, key)
	slow.meet("other")
	slow.times(2, 10*time.Minute, key)
	slow.want("after two refreshes", "other", facts.Unknown)
	slow.refresh(9*time.Minute, key)
	slow.want("after three", "other", facts.Absent)
}

func TestNothingIsGoneWhileRefreshesFail(t *testing.T) {
	r := newReplica(t)
	key := newKey(t, "a")
	r.want("before anything was read", "other", facts.Unknown)
	r.meet("other")
	r.times(20, time.Minute, key)
	r.want("when refreshes agree", "other", facts.Absent)
	r.refresh(9 * time.Minute)
	r.want("after nine minutes without an answer", "other", facts.Absent)
	r.refresh(time.Minute)
	r.want("after ten", "other", facts.Unknown)
	r.want("and what was accepted still is", "a", facts.Present)
	r.refresh(time.Minute, key)
	r.want("after the next answer", "other", facts.Absent)
}

func TestNothingIsGoneWhereKeysAreKeptBack(t *testing.T) {
	r := newReplica(t)
	r.history.partial = true
	r.meet("other")
	r.times(30, time.Minute, newKey(t, "a"))
	r.want("where the API server publishes only some keys", "other", facts.Unknown)
}

func TestAReplicaThatHasJustStartedAnswersAsTheOthersDo(t *testing.T) {
	r := newReplica(t)
	first, second := newKey(t, "first"), newKey(t, "second")
	r.times(20, time.Minute, first)
	r.meet("forged")
	r.times(20, time.Minute, second)
	r.meet("young")
	r.times(5, time.Minute, second)
	for id, want := range map[string]facts.State{
		"first": facts.Absent, "second": facts.Present, "forged": facts.Absent, "young": facts.Unknown, "never met": facts.Unknown,
	} {
		r.want("the replica that has run for long", id, want)
		fresh := r.another()
		if id == "second" {
			fresh.want("before its first refresh another's word is no reason to accept", id, facts.Unknown)
		}
		fresh.refresh(0, second)
		fresh.want("the replica that has just started", id, want)
	}
	fresh := r.another()
	r.times(5, time.Minute, second)
	fresh.refresh(5*time.Minute, second)
	fresh.times(2, time.Second, second)
	fresh.want("later", "young", facts.Absent)
	r.want("later", "young", facts.Absent)
}

func TestOneNamespaceCannotPushOutWhatOthersHaveMet(t *testing.T) {
	m := newMetKeys()
	now := time.Unix(0, 0)
	m.meet("theirs", "payments", now)
	for i := range 100_000 {
		m.meet(fmt.Sprint("forged", i), "flood", now)
	}
	if m.ids["theirs"] == nil || len(m.ids) != maxMetInNamespace+1 {
		t.Errorf("%d ids are remembered", len(m.ids))
	}
	for namespace := range 100 {
		for i := range maxMetInNamespace {
			m.meet(fmt.Sprint(namespace, "-", i), fmt.Sprint("flood", namespace), now.Add(time.Duration(i)))
		}
	}
	m.meet("late", "late", now)
	if m.ids["theirs"] == nil || m.ids["late"] == nil || len(m.ids) != maxMet {
		t.Errorf("%d ids are remembered", len(m.ids))
	}
	if m.meet("x"+string(make([]byte, maxKeyID)), "late", now) {
		t.Error("an id of any length is remembered")
	}
	total := 0
	for _, n := range m.count {
		total += n
	}
	if total != len(m.ids) {
		t.Errorf("%d ids are counted, %d there", total, len(m.ids))
	}
}

func TestTheRecordIsWrittenOnlyForNews(t *testing.T) {
	r := newReplica(t)
	key, next := newKey(t, "a"), newKey(t, "b")
	known := &recorded{}
	news := func(when string, want bool) {
		t.Helper()
		if got := r.history.hasNews(known); got != want {
			t.Errorf("%s: news %t, want %t", when, got, want)
		}
		if want {
			known = r.history.recorded()
		}
	}
	r.refresh(0, key)
	news("a first key", true)
	r.times(4, time.Minute, key)
	news("the same for four minutes", false)
	r.refresh(time.Minute, key)
	news("seen again after half the time to settle", true)
	r.meet("forged")
	news("an id that was met", true)
	r.times(2, time.Second, key)
	news("two refreshes lacked it", false)
	r.refresh(time.Second, key)
	news("three did", true)
	r.refresh(time.Second, key)
	news("four did", false)
	r.refresh(time.Minute, next)
	news("another key in its place", true)
	r.refresh(time.Minute, next)
	news("it stays away", false)
}

func TestTheRecordIsSmall(t *testing.T) {
	r := newReplica(t)
	for i := range 300 {
		r.refresh(time.Second, newKey(t, fmt.Sprintf("%043d", i)))
	}
	for i := range maxMet + 10 {
		r.history.met.meet(fmt.Sprintf("%0128d", i), fmt.Sprintf("%063d", i/maxMetInNamespace), r.now)
	}
	data, err := json.Marshal(r.history.recorded())
	if err != nil || len(data) > 800<<10 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

func TestAChainIsRememberedByItsWholeLeaf(t *testing.T) {
	r := newReplica(t)
	leaf := func(raw string) []*x509.Certificate {
		return []*x509.Certificate{{Raw: []byte(raw), RawIssuer: []byte("the same"), AuthorityKeyId: []byte("the same")}}
	}
	chains := func(when string, n int, settled bool) {
		t.Helper()
		trust := r.history.trust(&r.options, r.now)
		if len(trust.chains) != n || trust.chainsSettled != settled {
			t.Errorf("%s: %d chains, settled %t", when, len(trust.chains), trust.chainsSettled)
		}
	}
	r.refresh(0, newKey(t, "a"))
	r.history.addChain(leaf("one"), r.now)
	chains("at first", 1, false)
	r.now = r.now.Add(10 * time.Minute)
	r.history.addChain(leaf("one"), r.now)
	chains("after ten minutes", 1, true)
	r.history.addChain(leaf("two"), r.now)
	chains("another leaf of the same issuer", 2, false)
	r.now = r.now.Add(10 * time.Minute)
	r.history.addChain(leaf("two"), r.now)
	chains("the first is no longer presented", 1, true)
	if fresh := r.another(); fresh.history.chainsSettled(fresh.now) {
		t.Error("settled by what only another replica has seen")
	}
}
