package token

// Verdict is what the API server would say to a token.
type Verdict uint8

// The verdicts. The zero value is Unknown: what was not judged is never valid.
const (
	Unknown Verdict = iota
	Valid
	Invalid
)

// String returns the verdict in lower case.
func (v Verdict) String() string {
	switch v {
	case Valid:
		return "valid"
	case Invalid:
		return "invalid"
	case Unknown:
	}
	return "unknown"
}

// Result is a verdict and, unless it is Valid, the reason for it.
type Result struct {
	Verdict Verdict
	Reason  Reason
}

// result is that of a reason; without one the token is valid.
func result(r Reason) Result {
	if r == "" {
		return Result{Verdict: Valid}
	}
	return Result{Verdict: r.Verdict(), Reason: r}
}

// Reason says why a token is not valid. It is a closed set: it may label metrics.
type Reason string

// Reasons for which a token is invalid.
const (
	// Malformed: not three parts of base64url with a JSON header and payload.
	Malformed Reason = "malformed"
	// BadAlgorithm: none, a shared secret, or whatever else no RSA or EC key verifies.
	BadAlgorithm Reason = "bad-algorithm"
	// BadSignature: the key that the header names does not fit, or, where it
	// names none, no key does.
	BadSignature Reason = "bad-signature"
	// KeyGone: the header names a key that is known not to be accepted.
	KeyGone Reason = "key-gone"
	// Expired: exp is more than Leeway ago.
	Expired Reason = "expired"
	// NotYetValid: nbf or iat is more than Leeway ahead.
	NotYetValid Reason = "not-yet-valid"
	// Incomplete: a claim without which it means nobody.
	Incomplete Reason = "incomplete"
	// Contradictory: the subject of a legacy token is not the account of its claims.
	Contradictory Reason = "contradictory"
	// AccountGone and AccountReplaced: there is no such account any more, or
	// one of the same name with another uid.
	AccountGone     Reason = "account-gone"
	AccountReplaced Reason = "account-replaced"
	// SecretGone and SecretReplaced: the Secret that holds a legacy token or
	// binds a bound one is absent, or has another uid.
	SecretGone     Reason = "secret-gone"
	SecretReplaced Reason = "secret-replaced"
	// TokenReplaced: the Secret of a legacy token holds another one.
	TokenReplaced Reason = "token-replaced"
	// MarkedInvalid: that Secret is labelled kubernetes.io/legacy-token-invalid-since.
	MarkedInvalid Reason = "marked-invalid"
	// PodGone, PodReplaced, NodeGone and NodeReplaced are the same for what else
	// a token can be bound to.
	PodGone      Reason = "pod-gone"
	PodReplaced  Reason = "pod-replaced"
	NodeGone     Reason = "node-gone"
	NodeReplaced Reason = "node-replaced"
)

// Reasons for which it is unknown whether a token is valid.
const (
	// Unusual: so long, deep or strange that we did not look; no token that
	// Kubernetes makes is.
	Unusual Reason = "unusual"
	// ForeignIssuer: not listed, though the API server may accept it.
	ForeignIssuer Reason = "foreign-issuer"
	// ForeignAudience: the API server most likely refuses it, but it was made for
	// somebody else.
	ForeignAudience Reason = "foreign-audience"
	// KeysUnavailable: the keys could not be fetched.
	KeysUnavailable Reason = "keys-unavailable"
	// KeysPartial: the keys are known not to be all.
	KeysPartial Reason = "keys-partial"
	// KeyUnsettled: the header names a key that was not seen, yet or any more.
	KeyUnsettled Reason = "key-unsettled"
	// OtherCluster: a legacy token whose key is gone or another cluster's, of an
	// account that this cluster does not have.
	OtherCluster Reason = "other-cluster"
	// ObjectUnknown: an object that the token names could not be looked up.
	ObjectUnknown Reason = "object-unknown"
	// OtherBinding: bound to a webhook configuration, which nobody looks up.
	OtherBinding Reason = "other-binding"
)

type explained struct {
	reason Reason
	text   string
}

// explain returns all reasons with a phrase that goes on after "the token is not
// accepted: ".
func explain() []explained {
	return []explained{
		{Malformed, "it is not a well-formed token"},
		{BadAlgorithm, "no API server takes its signature algorithm"},
		{BadSignature, "its signature fits no key of the API server"},
		{KeyGone, "its signing key is no longer accepted"},
		{Expired, "it has expired"},
		{NotYetValid, "it is not valid yet"},
		{Incomplete, "it lacks claims of a service account"},
		{Contradictory, "its subject is not the account that it names"},
		{AccountGone, "its service account is gone"},
		{AccountReplaced, "its service account was deleted and made anew"},
		{SecretGone, "the Secret that it names is gone"},
		{SecretReplaced, "the Secret that it is bound to was deleted and made anew"},
		{TokenReplaced, "the Secret that it names holds another token"},
		{MarkedInvalid, "its Secret is labelled kubernetes.io/legacy-token-invalid-since"},
		{PodGone, "the pod that it is bound to is gone"},
		{PodReplaced, "the pod that it is bound to was deleted and made anew"},
		{NodeGone, "the node that it is bound to is gone"},
		{NodeReplaced, "the node that it is bound to was deleted and made anew"},
		{Unusual, "it is too long or too strange to be judged"},
		{ForeignIssuer, "its issuer is not one of those that are known"},
		{ForeignAudience, "it is meant for another audience"},
		{KeysUnavailable, "the keys of the API server could not be fetched"},
		{KeysPartial, "not all keys of the API server are known"},
		{KeyUnsettled, "its signing key was not seen at the API server so far"},
		{OtherCluster, "neither its signing key nor its account is one of this cluster's, so that it may be another cluster's token"},
		{ObjectUnknown, "an object that it names could not be looked up"},
		{OtherBinding, "it is bound to a webhook configuration"},
	}
}

// Verdict returns what the reason leads to.
func (r Reason) Verdict() Verdict {
	switch r {
	case Malformed, BadAlgorithm, BadSignature, KeyGone, Expired, NotYetValid, Incomplete, Contradictory,
		AccountGone, AccountReplaced, SecretGone, SecretReplaced, TokenReplaced, MarkedInvalid,
		PodGone, PodReplaced, NodeGone, NodeReplaced:
		return Invalid
	default:
		return Unknown
	}
}

// Text returns the reason as a phrase: "its signing key is no longer accepted".
// It is empty for a Reason that is none of the constants.
func (r Reason) Text() string {
	for _, e := range explain() {
		if e.reason == r {
			return e.text
		}
	}
	return ""
}
