// Package trust follows what the API servers of a cluster accept and show of
// themselves: the keys and issuers by which tokens are verified, and the
// certificates by which they serve.
//
// It imports packages facts, token and metrics, and nothing else of ours.
package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
	"time"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/token"
)

// Trust is what the API servers accept, and what they show of themselves, as far
// as is known. It is immutable, but for what it remembers of its own judgement.
type Trust struct {
	keys *token.KeySet
	// chains are the certificates that API servers presented, each leaf first;
	// chainsSettled is set once these have been all for some time.
	chains        [][]*x509.Certificate
	chainsSettled bool
	// generation grows with every change.
	generation uint64
	// fingerprint tells trusts apart.
	fingerprint string
	// judged has what was found of each ca.crt, by its SHA-256: most are the same.
	judged sync.Map
}

// Keys returns the keys and issuers by which tokens are verified.
func (t *Trust) Keys() *token.KeySet { return t.keys }

// Generation grows with every change: what was judged by another generation may
// be different now.
func (t *Trust) Generation() uint64 { return t.generation }

// CA tells whether a ca.crt verifies what API servers present: Present for yes,
// Absent for no. One of them is enough, while certificates are being replaced.
func (t *Trust) CA(ca []byte, now time.Time) facts.State {
	sum := sha256.Sum256(ca)
	if state, ok := t.judged.Load(sum); ok {
		return state.(facts.State)
	}
	state := t.judge(ca, now)
	t.judged.Store(sum, state)
	return state
}

func (t *Trust) judge(ca []byte, now time.Time) facts.State {
	if len(t.chains) == 0 {
		return facts.Unknown
	}
	if bundle, err := token.ParseCertificates(ca); err == nil {
		for _, chain := range t.chains {
			if token.Trusts(bundle, chain, now) {
				return facts.Present
			}
		}
	}
	if !t.chainsSettled {
		return facts.Unknown // another API server may present another one
	}
	return facts.Absent
}
