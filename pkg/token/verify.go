package token

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

// Leeway is how long the API server tolerates clocks that differ, and goes on
// taking a bound token after what it is bound to was deleted.
const Leeway = jwt.DefaultLeeway

// State is what is known of an object.
type State uint8

// The states. The zero value is NotKnown: what nobody looked up is never taken
// for absent.
const (
	NotKnown State = iota
	Absent
	Present
)

// Object is what the cluster holds under a name that a token mentions.
type Object struct {
	State State
	// UID is empty if it is not known.
	UID string
	// Deleting is the deletion timestamp: for a pod that is when its grace
	// period ends. Zero if the object is not being deleted.
	Deleting time.Time
}

// gone reports whether the object counts as deleted; for bound tokens that
// is so some time after its deletion.
func (o *Object) gone(now time.Time, leeway time.Duration) bool {
	return o.State == Absent || !o.Deleting.IsZero() && (leeway == 0 || o.Deleting.Before(now.Add(-leeway)))
}

// Secret is what the cluster holds of a Secret that a token names. For legacy
// tokens its UID does not matter, and for bound ones nothing but the Object does.
type Secret struct {
	Object
	// TokenHash is the SHA-256 of data.token, exactly as it is there; zero if it
	// was not read. An empty data.token has a hash like any other.
	TokenHash [sha256.Size]byte
	// InvalidSince is set if the Secret has a value under the label
	// kubernetes.io/legacy-token-invalid-since.
	InvalidSince bool
}

// Facts are what the cluster holds of the objects that a token names: the
// account Claims.ServiceAccount, Claims.Secret and Claims.Pod in
// Claims.Namespace, and Claims.Node. Only those that it names are looked at.
type Facts struct {
	ServiceAccount Object
	Secret         Secret
	Pod, Node      Object
}

// Checked is what can be kept of a token whose signature was checked: all that
// Judge needs, and nothing that would let anybody in.
type Checked struct {
	Claims Claims
	Hash   [sha256.Size]byte
	// Signature is good only for the key set that it was made with.
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
	return Checked{Claims: t.Claims, Hash: t.Hash(), Signature: CheckSignature(t, keys), SigningKey: t.signingKey()}
}

func (t *Token) signingKey() string {
	if t.KeyID != "" {
		return t.KeyID
	}
	return "sha256:" + hex.EncodeToString(t.hash[:])
}

// CheckSignature says what keys and issuers alone say of a token: Valid if its
// signature fits, and issuer and audience are the API server's.
func CheckSignature(t *Token, keys *KeySet) Result {
	if keys == nil {
		keys = &KeySet{}
	}
	switch {
	case t.signed == nil && (isSecret(t.Algorithm) || keys.takesIssuer(&t.Claims)):
		return result(BadAlgorithm)
	case t.Claims.Issuer == "":
		return result(Incomplete)
	case !keys.takesIssuer(&t.Claims):
		return result(ForeignIssuer) // whose keys are perhaps others
	}
	if misfit := keys.misfit(t); misfit != "" {
		return result(misfit)
	}
	if !keys.takesAudience(&t.Claims) {
		return result(ForeignAudience)
	}
	return Result{Verdict: Valid}
}

// isSecret reports whether an algorithm has no public key: nobody who publishes
// keys can take it.
func isSecret(algorithm string) bool {
	return strings.EqualFold(algorithm, "none") || strings.HasPrefix(algorithm, "HS") || algorithm == ""
}

// Judge completes Verify. What is certainly wrong wins over what is unknown: the
// API server asks for all of it, so that one failure will do.
func (c *Checked) Judge(f *Facts, now time.Time) Result {
	if f == nil {
		f = &Facts{}
	}
	var found Reason
	switch {
	case c.Signature.Verdict == Invalid:
		return c.Signature
	case c.Signature.Reason == ForeignIssuer:
		// Nothing is certain of others' tokens but that nobody takes expired ones.
		found = worst(c.Claims.expired(now))
	case c.Claims.Kind == Legacy:
		found = c.legacy(f, now) // whose times nobody looks at
	default:
		found = worst(c.Claims.expired(now), c.Claims.early(now), c.Claims.bound(f, now))
	}
	switch {
	case found.Verdict() == Invalid:
		return result(found)
	case c.Signature.Verdict != Valid:
		return c.Signature
	case found != "":
		return result(found)
	}
	return Result{Verdict: Valid}
}

// worst returns the first reason for Invalid, or else the first reason there is.
func worst(reasons ...Reason) Reason {
	var first Reason
	for _, r := range reasons {
		if r.Verdict() == Invalid {
			return r
		}
		if first == "" {
			first = r
		}
	}
	return first
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

// legacy follows legacyValidator.Validate, assuming --service-account-lookup,
// which is the default.
func (c *Checked) legacy(f *Facts, now time.Time) Reason {
	if wrong := c.Claims.legacyClaims(); wrong != "" {
		return wrong
	}
	return worst(c.held(f, now), compare(&c.Claims.ServiceAccount, &f.ServiceAccount, now, 0, AccountGone, AccountReplaced))
}

// legacyClaims says what is wrong with the claims of a legacy token themselves.
func (c *Claims) legacyClaims() Reason {
	switch {
	case c.Subject == "" || c.Namespace == "" || c.ServiceAccount.Name == "" || c.ServiceAccount.UID == "" || c.Secret == nil:
		return Incomplete
	case c.Subject != subjectPrefix+c.Namespace+":"+c.ServiceAccount.Name:
		return Contradictory
	}
	return ""
}

// held says what is wrong with the Secret of a legacy token.
func (c *Checked) held(f *Facts, now time.Time) Reason {
	secret := &f.Secret
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

// bound follows validator.Validate in claims.go, which does not look at the
// subject.
func (c *Claims) bound(f *Facts, now time.Time) Reason {
	if c.Namespace == "" || c.ServiceAccount.Name == "" {
		return Incomplete
	}
	reasons := []Reason{compare(&c.ServiceAccount, &f.ServiceAccount, now, Leeway, AccountGone, AccountReplaced)}
	if c.Secret != nil {
		reasons = append(reasons, compare(c.Secret, &f.Secret.Object, now, Leeway, SecretGone, SecretReplaced))
	}
	if c.Pod != nil {
		reasons = append(reasons, compare(c.Pod, &f.Pod, now, Leeway, PodGone, PodReplaced))
	} else if c.Node != nil {
		reasons = append(reasons, compare(c.Node, &f.Node, now, Leeway, NodeGone, NodeReplaced))
	}
	if c.Webhook {
		reasons = append(reasons, OtherBinding)
	}
	return worst(reasons...)
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
