package token

import (
	"time"

	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// LegacyIssuer issues the tokens that Secrets hold. Every API server takes it.
	LegacyIssuer  = "kubernetes/serviceaccount"
	subjectPrefix = "system:serviceaccount:"
)

// Kind tells the two kinds of service-account tokens from anything else.
type Kind uint8

// The kinds of tokens.
const (
	// Other: the claims of a service account are missing.
	Other Kind = iota
	// Legacy tokens live in a Secret and don't expire.
	Legacy
	// Bound tokens come from the TokenRequest API: projected volumes,
	// "kubectl create token".
	Bound
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Legacy:
		return "legacy"
	case Bound:
		return "bound"
	case Other:
	}
	return "other"
}

// Ref names an object. A legacy token has no uid for its Secret.
type Ref struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// Claims are what a token says of itself. All strings may be empty, all times
// zero and all pointers nil where the claim is absent.
type Claims struct {
	Kind                Kind
	Issuer, Subject, ID string
	Audiences           []string
	// Namespace of the account, and of Secret and Pod.
	Namespace      string
	ServiceAccount Ref
	// Secret holds a legacy token. A bound one ends with the Secret, Pod or
	// Node that it names; beside a Pod the Node is only information.
	Secret, Pod, Node *Ref
	// Webhook is set if the token is bound to a webhook configuration.
	Webhook bool
	// WarnAfter is when the API server starts to complain: the token was meant
	// to expire then.
	Expires, NotBefore, IssuedAt, WarnAfter time.Time
}

// legacyClaims are the private claims of pkg/serviceaccount/legacy.go.
type legacyClaims struct {
	Namespace  string `json:"kubernetes.io/serviceaccount/namespace"`
	SecretName string `json:"kubernetes.io/serviceaccount/secret.name"`
	Name       string `json:"kubernetes.io/serviceaccount/service-account.name"`
	UID        string `json:"kubernetes.io/serviceaccount/service-account.uid"`
}

// boundClaims are the private claims of pkg/serviceaccount/claims.go.
type boundClaims struct {
	Kubernetes *struct {
		Namespace      string           `json:"namespace"`
		ServiceAccount Ref              `json:"serviceaccount"`
		Secret         *Ref             `json:"secret"`
		Pod            *Ref             `json:"pod"`
		Node           *Ref             `json:"node"`
		Validating     *Ref             `json:"validatingwebhookconfiguration"`
		Mutating       *Ref             `json:"mutatingwebhookconfiguration"`
		WarnAfter      *jwt.NumericDate `json:"warnafter"`
	} `json:"kubernetes.io"`
}

// parseClaims reads a payload as the API server does: with go-jose's JSON, where
// names are case-sensitive and a name that stands twice is an error.
func parseClaims(payload []byte) (Claims, error) {
	var public jwt.Claims
	if json.Unmarshal(payload, &public) != nil {
		return Claims{}, malformed("payload", "not a JSON object with the claims of RFC 7519, each name once")
	}
	c := Claims{
		Issuer: public.Issuer, Subject: public.Subject, ID: public.ID, Audiences: public.Audience,
		Expires: public.Expiry.Time(), NotBefore: public.NotBefore.Time(), IssuedAt: public.IssuedAt.Time(),
	}
	// Private claims of a wrong type are as good as none: another issuer may
	// mean something else by them, and the API server refuses the token anyway.
	var bound boundClaims
	if json.Unmarshal(payload, &bound) != nil {
		bound.Kubernetes = nil
	}
	switch k := bound.Kubernetes; {
	case k != nil:
		c.Kind, c.Namespace, c.ServiceAccount = Bound, k.Namespace, k.ServiceAccount
		c.Secret, c.Pod, c.Node, c.Webhook = k.Secret, k.Pod, k.Node, k.Validating != nil || k.Mutating != nil
		c.WarnAfter = k.WarnAfter.Time()
	case c.Issuer == LegacyIssuer:
		c.Kind = Legacy
		var legacy legacyClaims
		if json.Unmarshal(payload, &legacy) != nil {
			legacy = legacyClaims{}
		}
		c.Namespace, c.ServiceAccount = legacy.Namespace, Ref{legacy.Name, legacy.UID}
		if legacy.SecretName != "" {
			c.Secret = &Ref{Name: legacy.SecretName}
		}
	}
	return c, nil
}
