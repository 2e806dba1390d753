package inventory

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tokenward.dev/tokenward/pkg/token"
)

// keyName tells keys apart: by what they are, and by what they are called.
func keyName(k *token.Key) string {
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		return k.ID
	}
	sum := sha256.Sum256(der)
	return k.ID + " " + hex.EncodeToString(sum[:])
}

// add notes what a refresh brought.
func (h *history) add(keys []token.Key, issuer string, now time.Time) {
	names := make([]string, 0, len(keys)+1)
	for i := range keys {
		name := keyName(&keys[i])
		names = append(names, name)
		h.keys[name] = seenKey{key: keys[i], last: now}
	}
	slices.Sort(names)
	raw := strings.Join(append(names, issuer), "\n")
	if h.last.IsZero() || raw != h.raw {
		h.raw, h.changed = raw, now
	}
	if issuer != "" {
		h.issuers[issuer] = now
	}
	h.last, h.unserved = now, time.Time{}
}

// fail notes that a refresh brought nothing.
func (h *history) fail(unserved bool, now time.Time) {
	switch {
	case !unserved:
		h.unserved = time.Time{}
	case h.unserved.IsZero():
		h.unserved = now
	}
}

// addChain notes a chain by who issued its leaf: servers behind a balancer have
// certificates of their own, and ca.crt is about who issued them.
func (h *history) addChain(chain []*x509.Certificate, now time.Time) {
	if len(chain) == 0 {
		return
	}
	issuer := string(chain[0].RawIssuer) + string(chain[0].AuthorityKeyId)
	if _, known := h.chains[issuer]; !known {
		h.presented = now
	}
	h.chains[issuer] = seenChain{chain: chain, last: now}
}

// age forgets what refreshes have not shown for as long as it takes to settle,
// once they agree on the rest. When none succeeds nothing is forgotten.
func (h *history) age(settle time.Duration, now time.Time) {
	if h.last.Equal(now) && h.settled(settle) {
		maps.DeleteFunc(h.keys, func(_ string, k seenKey) bool { return now.Sub(k.last) >= settle })
		maps.DeleteFunc(h.issuers, func(_ string, last time.Time) bool { return now.Sub(last) >= settle })
	}
	before := len(h.chains)
	maps.DeleteFunc(h.chains, func(_ string, c seenChain) bool { return now.Sub(c.last) >= settle && before > 1 })
}

// settled reports whether refreshes over some time have agreed.
func (h *history) settled(settle time.Duration) bool {
	return !h.last.IsZero() && h.last.Sub(h.changed) >= settle
}

// trust puts together what is accepted: the union of the keys that were seen
// while it settles, and those that were given.
func (h *history) trust(o *SigningOptions, now time.Time) *trust {
	options := token.KeySetOptions{Keys: slices.Clone(o.Keys), Issuers: slices.Clone(o.Issuers), Partial: o.Partial}
	names := slices.Sorted(maps.Keys(h.keys))
	for _, name := range names {
		options.Keys = append(options.Keys, h.keys[name].key)
	}
	options.Issuers = append(options.Issuers, slices.Sorted(maps.Keys(h.issuers))...)
	// Keys that were given are all there are where for some time none have been
	// published.
	given := len(o.Keys) > 0 && !h.unserved.IsZero() && now.Sub(h.unserved) >= o.Settle
	options.Unavailable = h.last.IsZero() && !given
	options.Settled = h.settled(o.Settle) || (h.last.IsZero() && given)
	t := &trust{keys: token.NewKeySet(options), chainsSettled: !h.presented.IsZero() && now.Sub(h.presented) >= o.Settle}
	presenters := slices.Sorted(maps.Keys(h.chains))
	for _, name := range presenters {
		t.chains = append(t.chains, h.chains[name].chain)
	}
	t.fingerprint = fmt.Sprintf("%q %q %t %t %q %t", names, options.Issuers, options.Unavailable, options.Settled, presenters, t.chainsSettled)
	return t
}
