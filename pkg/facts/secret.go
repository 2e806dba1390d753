package facts

import (
	"crypto/sha256"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/token"
)

// Secret is what a Secret holds as far as tokens go: never a value.
type Secret struct {
	// TokenSecret is set for the type kubernetes.io/service-account-token.
	TokenSecret bool
	// Account and AccountUID are what a token Secret is annotated with.
	Account, AccountUID string
	// Created is the creation timestamp.
	Created time.Time
	// MarkedInvalid is set if the cleaner of legacy tokens labelled it so.
	MarkedInvalid bool
	// HasToken and HasCA tell whether data.token and data["ca.crt"] have a value.
	HasToken, HasCA bool
	// OtherKeys is set if it has keys beyond token, ca.crt and namespace.
	OtherKeys bool
	// TokenHash is the SHA-256 of data.token as it is there, whatever the type.
	TokenHash [sha256.Size]byte
	// CA tells whether ca.crt verifies the certificate that the API server
	// presents: Present for yes, Absent for no.
	CA State
	// Tokens are the keys that hold a service-account token, sorted by key: "token"
	// of a token Secret, whatever is in it, and each other whose value is one.
	Tokens []SecretToken
}

// SecretToken is a token that a Secret holds under a key.
type SecretToken struct {
	Key string
	token.Checked
	// Broken is the result for what could not be parsed; its verdict is Unknown
	// and its reason empty otherwise.
	Broken token.Result
	// InTokenSecret is set for data.token of a Secret of the token type.
	InTokenSecret bool
}

// Keys that a token Secret has (k8s.io/api/core/v1, ServiceAccountTokenKey and
// the following).
const (
	tokenKey = corev1.ServiceAccountTokenKey
	caKey    = corev1.ServiceAccountRootCAKey
	nsKey    = corev1.ServiceAccountNamespaceKey
)

// legacyTokenInvalidSince is the label by which the cleaner of legacy tokens
// makes one invalid (KEP-2799).
const legacyTokenInvalidSince = "kubernetes.io/legacy-token-invalid-since"

// ReadSecret reduces a Secret to what can be kept. The result is good for as
// long as the keys are, and trusts says of a ca.crt whether it is current.
func ReadSecret(s *corev1.Secret, keys *token.KeySet, trusts func(ca []byte) State) *Secret {
	out := &Secret{
		TokenSecret: s.Type == corev1.SecretTypeServiceAccountToken, Created: s.CreationTimestamp.Time,
		MarkedInvalid: s.Labels[legacyTokenInvalidSince] != "",
	}
	out.TokenHash = sha256.Sum256(s.Data[tokenKey])
	if out.TokenSecret {
		out.Account, out.AccountUID = s.Annotations[corev1.ServiceAccountNameKey], s.Annotations[corev1.ServiceAccountUIDKey]
		out.HasToken, out.HasCA = len(s.Data[tokenKey]) > 0, len(s.Data[caKey]) > 0
		if out.HasCA {
			out.CA = trusts(s.Data[caKey])
		}
	}
	for key := range s.Data {
		out.OtherKeys = out.OtherKeys || (key != tokenKey && key != caKey && key != nsKey)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Data)) {
		switch isToken := out.TokenSecret && out.HasToken && key == tokenKey; {
		case !isToken && !token.Recognise(s.Data[key]):
		case len(out.Tokens) < maxTokens:
			t := ReadToken(key, s.Data[key], keys)
			t.InTokenSecret = isToken
			out.Tokens = append(out.Tokens, t)
		default:
			out.Tokens = append(out.Tokens, SecretToken{Key: key, Broken: token.Result{Verdict: token.Unknown, Reason: token.Unusual}})
			return out
		}
	}
	return out
}

// maxTokens bounds what one Secret can cost: of more tokens the first that is
// beyond stands for all, as unknown.
const maxTokens = 16

// ReadToken reduces a token under a key to what can be kept.
func ReadToken(key string, value []byte, keys *token.KeySet) SecretToken {
	t, err := token.Parse(value)
	if err != nil {
		broken := token.Result{Verdict: token.Invalid, Reason: token.Malformed}
		if parse, ok := err.(*token.ParseError); ok { //nolint:errorlint // Parse promises the type
			broken = parse.Result()
		}
		return SecretToken{Key: key, Broken: broken}
	}
	return SecretToken{Key: key, Checked: token.Check(t, keys)}
}
