package inventory

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"tokenward.dev/tokenward/pkg/token"
)

// rollout plays refreshes against a history with a clock of its own.
type rollout struct {
	t       *testing.T
	history history
	options SigningOptions
	now     time.Time
	// unserved makes failing refreshes say that there are no keys.
	unserved bool
}

func newRollout(t *testing.T) *rollout {
	return &rollout{
		t: t, options: SigningOptions{Settle: 10 * time.Minute}, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		history: newHistory(),
	}
}

func newKey(t *testing.T, id string) token.Key {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return token.Key{ID: id, Public: key.Public()}
}

// refresh brings some keys, or fails where there are none.
func (r *rollout) refresh(after time.Duration, keys ...token.Key) {
	r.now = r.now.Add(after)
	if len(keys) > 0 {
		r.history.add(keys, "https://issuer.test", r.now)
	} else {
		r.history.fail(r.unserved, r.now)
	}
	r.history.age(r.options.Settle, r.now)
}

// want wants a key id to be known, gone or unsettled.
func (r *rollout) want(when, id, want string) {
	r.t.Helper()
	set := r.history.trust(&r.options, r.now).keys
	got := map[bool]string{true: "known", false: "gone"}[set.Knows(id)]
	if got == "gone" && !set.Settled() {
		got = "unsettled"
	}
	if got != want {
		r.t.Errorf("%s: key %q is %s, want %s", when, id, got, want)
	}
}

func TestAKeyIsGoneOnlyWhenRefreshesAgree(t *testing.T) {
	r := newRollout(t)
	before, after := newKey(t, "old"), newKey(t, "new")
	r.refresh(0, before)
	r.want("at the start", "old", "known")
	r.want("at the start", "other", "unsettled")
	for range 10 {
		r.refresh(time.Minute, before)
	}
	r.want("after ten minutes of the same", "other", "gone")

	// A roll-out over two API servers, of which either may answer.
	for i := range 30 {
		r.refresh(time.Minute, map[bool]token.Key{true: before, false: after}[i%2 == 0])
		r.want("during the roll-out", "old", "known")
		if i > 0 {
			r.want("during the roll-out", "new", "known")
			r.want("during the roll-out", "other", "unsettled")
		}
	}
	for range 9 {
		r.refresh(time.Minute, after)
		r.want("soon after the roll-out", "old", "known")
	}
	r.refresh(30 * time.Minute) // the API server is out of reach
	r.want("while nothing can be read", "old", "known")
	r.refresh(time.Minute, after)
	r.want("when all agree", "old", "gone")
	r.want("when all agree", "new", "known")
}

// One look and failures since are no agreement.
func TestFailuresDoNotSettle(t *testing.T) {
	r := newRollout(t)
	key := newKey(t, "a")
	r.refresh(0, key)
	for range 30 {
		r.refresh(time.Minute)
	}
	r.want("after half an hour of failures", "other", "unsettled")
	r.refresh(time.Minute, key)
	r.want("after one more look", "other", "gone")
}

func TestGivenKeysStandBesideThosePublished(t *testing.T) {
	r := newRollout(t)
	given := newKey(t, "given")
	r.options.Keys = []token.Key{given}
	r.refresh(0)
	r.want("before anything was read", "given", "known")
	r.want("before anything was read", "other", "unsettled")
	r.unserved = true
	r.refresh(time.Minute)
	r.want("when it is first said that none are published", "other", "unsettled")
	r.refresh(11 * time.Minute)
	r.want("where no keys are published", "other", "gone")
	r.unserved = false
	r.refresh(time.Minute)
	r.want("after another failure", "other", "unsettled")
	r.refresh(time.Minute, newKey(t, "published"))
	r.want("beside the published ones", "given", "known")
	r.want("beside the published ones", "published", "known")
	r.want("beside the published ones", "other", "unsettled")
}
