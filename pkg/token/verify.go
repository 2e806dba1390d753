package token

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// StepName names one of the things that Verify looks at.
type StepName string

// The steps, in the order in which they are told.
const (
	StepSignature StepName = "signature"
	StepIssuer    StepName = "issuer"
	StepAudience  StepName = "audience"
	StepTimes     StepName = "times"
	StepClaims    StepName = "claims"
	StepAccount   StepName = "account"
	StepSecret    StepName = "secret"
	StepPod       StepName = "pod"
	StepNode      StepName = "node"
	StepBinding   StepName = "binding"
)

// Step is one of the things that Verify looks at, and what it came to.
type Step struct {
	Name   StepName
	Result Result
}

// Checked is what can be kept of a token whose signature was checked: all that
// Judge needs, and nothing that would let anybody in.
type Checked struct {
	Claims Claims
	Hash   [sha256.Size]byte
	// Signature is what keys and issuers alone say of the token: Valid if its
	// signature fits, and issuer and audience are the API server's. It is good
	// only for the key set that it was made with.
	Signature Result
	// SigningKey names the key that signed the token: the key id in its header, or
	// "sha256:" and the token's hash where it names none.
	SigningKey string
}

// Verify judges a token. All arguments but the token and the time may be nil:
// nothing is known then.
func Verify(t *Token, keys *KeySet, f *Facts, now time.Time) Result {
	c := Check(t, keys)
	return c.Judge(f, now)
}

// Check does the part of Verify that costs time and needs neither facts nor clock.
func Check(t *Token, keys *KeySet) Checked {
	var worst Reason
	keyRules(t, keys, func(_ StepName, r Reason) { worst = worse(worst, r) })
	return Checked{Claims: t.Claims, Hash: t.hash, Signature: result(worst), SigningKey: t.signingKey()}
}

// hashPrefix begins what stands for the key id of a token that has none.
const hashPrefix = "sha256:"

func (t *Token) signingKey() string {
	if t.KeyID != "" {
		return t.KeyID
	}
	return hashPrefix + hex.EncodeToString(t.hash[:])
}

// Judge completes Verify. What is certainly wrong wins over what is unknown: the
// API server asks for all of it, so that one failure will do.
func (c *Checked) Judge(f *Facts, now time.Time) Result {
	if f == nil {
		f = &Facts{}
	}
	worst := c.keyRule(c.Signature.Reason, f)
	if worst.Verdict() == Invalid || c.maybeOfAnotherCluster(f) {
		return result(worst)
	}
	objectRules(c, f, now, c.Signature.Reason == ForeignIssuer, func(_ StepName, r Reason) { worst = worse(worst, r) })
	if worst == "" {
		return c.Signature // also one that was never checked
	}
	return result(worst)
}

// Steps tells how Verify comes to its result: invalid if any step is, and valid
// if all are. Steps that mean nothing for the token are left out: nobody looks
// at the times of a legacy token, or for the account of another cluster's.
func Steps(t *Token, keys *KeySet, f *Facts, now time.Time) []Step {
	var steps []Step
	if f == nil {
		f = &Facts{}
	}
	c, foreign := Check(t, keys), false
	add := func(name StepName, r Reason) {
		foreign = foreign || name == StepIssuer && r == ForeignIssuer
		if name == StepSignature {
			r = c.keyRule(r, f)
		}
		steps = append(steps, Step{name, result(r)})
	}
	keyRules(t, keys, add)
	if !c.maybeOfAnotherCluster(f) {
		objectRules(&c, f, now, foreign, add)
	}
	return steps
}
