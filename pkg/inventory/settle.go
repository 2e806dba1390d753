package inventory

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
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
	if !h.fetched || raw != h.raw {
		h.raw, h.changed = raw, now
	}
	h.issuer, h.fetched, h.unserved = issuer, true, false
}

func (h *history) addChain(chain []*x509.Certificate, now time.Time) {
	if len(chain) > 0 {
		sum := sha256.Sum256(chain[0].Raw)
		h.chains[string(sum[:])] = seenChain{chain: chain, last: now}
	}
}

// age forgets the keys that refreshes have not shown for as long as it takes to
// settle, once they agree on the others. When none succeeds nothing is forgotten.
func (h *history) age(settle time.Duration, now time.Time, refreshed bool) {
	if refreshed && now.Sub(h.changed) >= settle {
		for name, k := range h.keys {
			if now.Sub(k.last) >= settle {
				delete(h.keys, name)
			}
		}
	}
	for name, c := range h.chains {
		if now.Sub(c.last) >= settle && len(h.chains) > 1 {
			delete(h.chains, name)
		}
	}
}

// trust puts together what is accepted: the union of the keys that were seen
// while it settles, and those that were given.
func (h *history) trust(o *SigningOptions, now time.Time) *trust {
	options := token.KeySetOptions{Keys: slices.Clone(o.Keys), Issuers: slices.Clone(o.Issuers), Partial: o.Partial}
	names := make([]string, 0, len(h.keys))
	for name := range h.keys {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		options.Keys = append(options.Keys, h.keys[name].key)
	}
	if h.issuer != "" {
		options.Issuers = append(options.Issuers, h.issuer)
	}
	options.Unavailable = !h.fetched && len(o.Keys) == 0
	// Keys that were given are all there are where none are published.
	options.Settled = (h.fetched && now.Sub(h.changed) >= o.Settle) || (!h.fetched && h.unserved && len(o.Keys) > 0)
	t := &trust{keys: token.NewKeySet(options)}
	leaves := make([]string, 0, len(h.chains))
	for name, c := range h.chains {
		leaves = append(leaves, hex.EncodeToString([]byte(name)))
		t.chains = append(t.chains, c.chain)
	}
	slices.Sort(leaves)
	t.fingerprint = fmt.Sprintf("%q %q %t %t %q", names, options.Issuers, options.Unavailable, options.Settled, leaves)
	return t
}
