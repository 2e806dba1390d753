package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"slices"
	"time"
)

// servingChain is a certificate that an API server presented, to this replica or
// to another, its leaf first.
type servingChain struct {
	chain       []*x509.Certificate // nil where another replica did not share it
	first, last time.Time
	elsewhere   time.Time
}

const (
	// maxChains bounds the chains that are remembered: a cluster has a few API
	// servers, and each changes its certificate now and then.
	maxChains = 16
	// maxSharedChain bounds the bytes of a chain that goes into the record.
	maxSharedChain = 4 << 10
)

func leafSum(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.Raw)
	return hex.EncodeToString(sum[:])
}

func (c *servingChain) seen() time.Time { return later(c.last, c.elsewhere) }

// addChain notes the certificate that an API server presented.
func (h *history) addChain(chain []*x509.Certificate, now time.Time) {
	if len(chain) == 0 {
		return
	}
	name := leafSum(chain[0])
	if h.chains[name] == nil {
		h.chains[name] = &servingChain{first: now}
	}
	h.chains[name].chain, h.chains[name].last = chain, now
	h.dropChains(now)
}

// mergeChain takes over what a record says of a chain.
func (h *history) mergeChain(r *recordedChain, now time.Time) {
	if now.Sub(r.Last) >= h.settle {
		return
	}
	mine := h.chains[r.SHA256]
	if mine == nil {
		mine = &servingChain{first: r.First}
		h.chains[r.SHA256] = mine
	}
	if mine.chain == nil {
		mine.chain = r.parse()
	}
	mine.first, mine.elsewhere = earlier(mine.first, r.First), later(mine.elsewhere, notAfter(r.Last, now))
	h.dropChains(now)
}

// dropChains forgets the chains that nobody saw within settle, and the oldest of
// too many.
func (h *history) dropChains(now time.Time) {
	maps.DeleteFunc(h.chains, func(_ string, c *servingChain) bool { return now.Sub(c.seen()) >= h.settle })
	for len(h.chains) > maxChains {
		names := slices.Sorted(maps.Keys(h.chains))
		delete(h.chains, slices.MinFunc(names, func(a, b string) int { return h.chains[a].seen().Compare(h.chains[b].seen()) }))
	}
}

// shared returns the chain for the record: all of it, or the leaf alone.
func (c *servingChain) shared() [][]byte {
	var all [][]byte
	size := 0
	for _, certificate := range c.chain {
		if size += len(certificate.Raw); size > maxSharedChain {
			return all[:min(len(all), 1)]
		}
		all = append(all, certificate.Raw)
	}
	return all
}

// parse returns the chain that a record has, if it is the one that it says.
func (r *recordedChain) parse() []*x509.Certificate {
	chain := make([]*x509.Certificate, 0, len(r.Chain))
	for _, der := range r.Chain {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil
		}
		chain = append(chain, certificate)
	}
	if len(chain) == 0 || leafSum(chain[0]) != r.SHA256 {
		return nil
	}
	return chain
}

// chainsSettled reports whether the chains that are known are all that API servers
// present: over at least settle none came or went, here or elsewhere.
func (h *history) chainsSettled(now time.Time) bool {
	if h.began.IsZero() || len(h.chains) == 0 {
		return false
	}
	for _, c := range h.chains {
		if c.chain == nil || now.Sub(c.first) < h.settle {
			return false
		}
	}
	return true
}
