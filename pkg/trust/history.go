package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/token"
)

// history is what refreshes have shown so far, and which key ids tokens have. It
// answers one question: is a key accepted, gone, or is that unknown?
//
// A key that a refresh within the last settle showed is accepted. A key id is gone
// only if every successful refresh over at least settle lacked it: since the key
// was last published, or, where it never was, since a token first showed the id,
// and then three refreshes at least. Where no refresh has succeeded for settle
// nothing is gone. Everything else is unknown.
type history struct {
	settle, refresh time.Duration
	partial         bool // the API server accepts keys that it does not publish
	keys            map[string]*publishedKey
	met             *metKeys
	issuers         map[string]time.Time // when each was last seen
	chains          map[string]*servingChain
	// last is when a refresh last succeeded, began when one first did.
	last, began time.Time
}

// publishedKey is a key that a refresh, of this replica or another, has shown.
type publishedKey struct {
	id, sum string
	// key is nil where only another replica has seen it.
	key         *token.Key
	first, last time.Time
	// elsewhere is when another replica last saw it.
	elsewhere time.Time
}

// leastRefreshes is how many refreshes must have lacked a key that was never
// published before it is gone.
const leastRefreshes = 3

// maxPublished bounds the keys that are remembered; those go first that were seen
// last the longest time ago.
const maxPublished = 256

func newHistory(o *Options) *history {
	return &history{
		settle: o.Settle, refresh: o.Refresh, partial: o.Partial, keys: map[string]*publishedKey{}, met: newMetKeys(),
		issuers: map[string]time.Time{}, chains: map[string]*servingChain{},
	}
}

// keySum identifies a key by what it is.
func keySum(k *token.Key) string {
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil { // token.ParseKeys lets none in
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// addKeys notes what a successful refresh brought.
func (h *history) addKeys(keys []token.Key, issuer string, now time.Time) {
	shown := make(map[string]bool, len(keys))
	for i := range keys {
		sum := keySum(&keys[i])
		name := keys[i].ID + " " + sum
		shown[keys[i].ID] = true
		if h.keys[name] == nil {
			h.keys[name] = &publishedKey{id: keys[i].ID, sum: sum, first: now}
		}
		h.keys[name].key, h.keys[name].last = &keys[i], now
	}
	h.met.countRefresh(shown)
	if issuer != "" {
		h.issuers[issuer] = now
	}
	if h.last = now; h.began.IsZero() {
		h.began = now
	}
	maps.DeleteFunc(h.issuers, func(_ string, last time.Time) bool { return now.Sub(last) >= h.settle })
	for len(h.keys) > maxPublished {
		delete(h.keys, slices.MinFunc(slices.Collect(maps.Keys(h.keys)), func(a, b string) int { return h.keys[a].last.Compare(h.keys[b].last) }))
	}
}

// accepts reports whether a key counts as accepted: a refresh within settle before
// the last one showed it. While refreshes fail nothing is forgotten.
func (h *history) accepts(k *publishedKey) bool { return h.last.Sub(k.last) < h.settle }

// key returns what is known of a key id: Present if it is accepted, Absent if it
// is gone.
func (h *history) key(id string, now time.Time) facts.State {
	var published time.Time
	for _, k := range h.keys {
		if k.id != id {
			continue
		}
		if k.key != nil && h.accepts(k) {
			return facts.Present
		}
		published = later(published, later(k.last, k.elsewhere))
	}
	switch {
	case h.partial, h.last.IsZero(), now.Sub(h.last) >= h.settle:
		return facts.Unknown
	case !published.IsZero():
		return absentIf(h.last.Sub(published) >= h.settle)
	}
	return absentIf(h.met.lacked(id, now.Add(-h.settle)))
}

func absentIf(absent bool) facts.State {
	if absent {
		return facts.Absent
	}
	return facts.Unknown
}

// trust puts together what is accepted: the keys that were shown within settle,
// and those that were given.
func (h *history) trust(o *Options, now time.Time) *Trust {
	options := token.KeySetOptions{Keys: slices.Clone(o.Keys), Issuers: slices.Clone(o.Issuers), Partial: o.Partial}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(h.keys)) {
		if k := h.keys[name]; k.key != nil && h.accepts(k) {
			names = append(names, name)
			options.Keys = append(options.Keys, *k.key)
		}
	}
	options.Issuers = append(options.Issuers, slices.Sorted(maps.Keys(h.issuers))...)
	options.Unavailable = h.last.IsZero() && len(o.Keys) == 0
	t := &Trust{keys: token.NewKeySet(options), chainsSettled: h.chainsSettled(now)}
	var presenters []string
	for _, name := range slices.Sorted(maps.Keys(h.chains)) {
		if chain := h.chains[name].chain; chain != nil {
			presenters, t.chains = append(presenters, name), append(t.chains, chain)
		}
	}
	t.fingerprint = fmt.Sprintf("%q %q %t %q %t", names, options.Issuers, options.Unavailable, presenters, t.chainsSettled)
	return t
}

// isSettled reports whether this replica has looked for long enough to know what
// tokens and CAs are verified by, those included that tokens showed when it started.
func (h *history) isSettled(now time.Time) bool {
	return !h.began.IsZero() && now.Sub(h.began) >= h.settle+(leastRefreshes+1)*h.refresh && now.Sub(h.last) < h.settle && h.chainsSettled(now)
}
