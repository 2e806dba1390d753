package token

import (
	"crypto/sha256"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

// Leeway is how long the API server tolerates clocks that differ, and goes on
// taking a bound token after what it is bound to was deleted.
const Leeway = jwt.DefaultLeeway

// keyRules and objectRules are all that an API server asks of a token, in the
// order in which it asks. They visit each rule that means something for the
// token, with the reason why the token breaks it, or none. worse tells which of
// several reasons counts.

// keyRules are those that need keys and issuers alone.
func keyRules(t *Token, keys *KeySet, visit func(StepName, Reason)) {
	if keys == nil {
		keys = &KeySet{}
	}
	c := &t.Claims
	foreign := !keys.takesIssuer(c)
	visit(StepSignature, t.signatureRule(keys, foreign))
	switch {
	case c.Issuer == "":
		visit(StepIssuer, Incomplete)
	case foreign:
		visit(StepIssuer, ForeignIssuer)
		return // whose audiences are perhaps others
	default:
		visit(StepIssuer, "")
	}
	switch {
	case !keys.takesAudience(c):
		visit(StepAudience, ForeignAudience)
	case len(c.Audiences) > 0:
		visit(StepAudience, "")
	}
}

// objectRules are those that need the time and what the cluster holds. Nothing is
// certain of a foreign issuer's tokens but that nobody takes expired ones.
func objectRules(c *Checked, f *Facts, now time.Time, foreign bool, visit func(StepName, Reason)) {
	claims, leeway := &c.Claims, Leeway
	switch {
	case foreign:
		visit(StepTimes, claims.expired(now))
		return
	case claims.Kind == Legacy: // whose times nobody looks at, and which ends at once
		leeway = 0
	default:
		visit(StepTimes, worse(claims.expired(now), claims.early(now)))
	}
	if wrong := claims.claimsRule(); wrong != "" {
		visit(StepClaims, wrong)
		return
	}
	// The order is that of legacyValidator.Validate (legacy.go), which assumes
	// --service-account-lookup, the default, and validator.Validate (claims.go).
	if claims.Kind == Legacy {
		visit(StepSecret, c.secretRule(&f.Secret, now))
	}
	visit(StepAccount, compare(&claims.ServiceAccount, &f.ServiceAccount, now, leeway, AccountGone, AccountReplaced))
	if claims.Kind == Legacy {
		return
	}
	if claims.Secret != nil {
		visit(StepSecret, compare(claims.Secret, &f.Secret.Object, now, leeway, SecretGone, SecretReplaced))
	}
	if claims.Pod != nil {
		visit(StepPod, compare(claims.Pod, &f.Pod, now, leeway, PodGone, PodReplaced))
	} else if claims.Node != nil {
		visit(StepNode, compare(claims.Node, &f.Node, now, leeway, NodeGone, NodeReplaced))
	}
	if claims.Webhook {
		visit(StepBinding, OtherBinding)
	}
}

// worse returns the first of two reasons, unless only the second is a reason for
// Invalid.
func worse(first, second Reason) Reason {
	if first == "" || first.Verdict() != Invalid && second.Verdict() == Invalid {
		return second
	}
	return first
}

// signatureRule looks at the signature alone. That no key fits the token of
// another issuer means nothing; that one does means what it always does.
func (t *Token) signatureRule(keys *KeySet, foreign bool) Reason {
	switch {
	case t.signed == nil && (isSecret(t.Algorithm) || !foreign):
		return BadAlgorithm
	case t.signed == nil:
		return ForeignIssuer
	}
	misfit := keys.misfit(t)
	if misfit != "" && foreign {
		return ForeignIssuer
	}
	return misfit
}

// keyRule completes what was said of the signature: whether a key that fits is gone
// is known only now.
func (c *Checked) keyRule(signature Reason, f *Facts) Reason {
	switch {
	case signature != KeyUnsettled || f.SigningKey != Absent:
		return signature
	case c.maybeOfAnotherCluster(f):
		return OtherCluster
	case strings.HasPrefix(c.SigningKey, hashPrefix):
		return BadSignature
	}
	return KeyGone
}

// maybeOfAnotherCluster reports whether a legacy token that no key fits can be one
// of another cluster: they all have the same issuer, so that only the account tells.
func (c *Checked) maybeOfAnotherCluster(f *Facts) bool {
	switch c.Signature.Reason {
	case KeyUnsettled, KeysUnavailable, KeysPartial:
		account := &f.ServiceAccount
		return c.Claims.Kind == Legacy && !f.TokenSecret && (account.State != Present || account.UID != c.Claims.ServiceAccount.UID)
	default:
		return false
	}
}

// isSecret reports whether an algorithm has no public key: nobody who publishes
// keys can take it.
func isSecret(algorithm string) bool {
	return strings.EqualFold(algorithm, "none") || strings.HasPrefix(algorithm, "HS") || algorithm == ""
}

func (c *Claims) expired(now time.Time) Reason {
	if !c.Expires.IsZero() && now.Add(-Leeway).After(c.Expires) {
		return Expired
	}
	return ""
}

func (c *Claims) early(now time.Time) Reason {
	if latest := now.Add(Leeway); latest.Before(c.NotBefore) || latest.Before(c.IssuedAt) {
		return NotYetValid
	}
	return ""
}

// claimsRule says what is wrong with the claims themselves. Of a bound token
// nobody looks at the subject.
func (c *Claims) claimsRule() Reason {
	switch {
	case c.Kind != Legacy && (c.Namespace == "" || c.ServiceAccount.Name == ""):
		return Incomplete
	case c.Kind != Legacy:
		return ""
	case c.Subject == "" || c.Namespace == "" || c.ServiceAccount.Name == "" || c.ServiceAccount.UID == "" || c.Secret == nil:
		return Incomplete
	case c.Subject != subjectPrefix+c.Namespace+":"+c.ServiceAccount.Name:
		return Contradictory
	}
	return ""
}

// secretRule says what is wrong with the Secret that a legacy token lives in.
func (c *Checked) secretRule(secret *Secret, now time.Time) Reason {
	switch {
	case secret.gone(now, 0):
		return SecretGone
	case secret.State == NotKnown || secret.TokenHash == [sha256.Size]byte{}:
		return ObjectUnknown
	case secret.TokenHash != c.Hash:
		return TokenReplaced
	case secret.InvalidSince:
		return MarkedInvalid
	}
	return ""
}

// compare says what is wrong with an object that a token names, if anything.
func compare(named *Ref, is *Object, now time.Time, leeway time.Duration, gone, replaced Reason) Reason {
	switch {
	case named.Name == "" || is.gone(now, leeway):
		return gone
	case is.State == NotKnown || is.UID == "":
		return ObjectUnknown
	case is.UID != named.UID:
		return replaced
	}
	return ""
}
