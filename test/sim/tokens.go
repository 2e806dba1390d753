package sim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

const (
	// issuer of the cluster's bound tokens.
	issuer = "https://kubernetes.default.svc"
	// legacyIssuer is that of every cluster's long-lived tokens.
	legacyIssuer = "kubernetes/serviceaccount"
)

// signingKey signs tokens, or could.
type signingKey struct {
	name    string
	private *ecdsa.PrivateKey
	id      string
	jwk     json.RawMessage // the public half
}

// newSigningKey returns the key of a name, always the same one.
func newSigningKey(name string) *signingKey {
	for i := 0; ; i++ {
		sum := sha256.Sum256(fmt.Append(nil, name, i))
		private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), sum[:])
		if err != nil {
			continue // not in the field
		}
		der, err := x509.MarshalPKIXPublicKey(private.Public())
		if err != nil {
			continue
		}
		point, err := private.PublicKey.Bytes()
		if err != nil {
			continue
		}
		id := sha256.Sum256(der)
		k := &signingKey{name: name, private: private, id: b64(id[:])}
		k.jwk = encode(map[string]string{
			"use": "sig", "kty": "EC", "kid": k.id, "crv": "P-256", "alg": "ES256", "x": b64(point[1:33]), "y": b64(point[33:]),
		})
		return k
	}
}

func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// sign returns a token. The same claims give the same token, as RSA keys do.
func (k *signingKey) sign(header, claims map[string]any) string {
	text := b64(encode(header)) + "." + b64(encode(claims))
	sum := sha256.Sum256([]byte(text))
	signature, err := k.private.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return text + "." + b64(raw(signature))
}

// raw makes R and S, 32 bytes each, of an ASN.1 signature.
func raw(der []byte) []byte {
	out := make([]byte, 64)
	rest := der[2:]
	for half := range 2 {
		length := int(rest[1])
		number := rest[2 : 2+length]
		rest = rest[2+length:]
		for len(number) > 32 {
			number = number[1:]
		}
		copy(out[32*half+32-len(number):], number)
	}
	return out
}

// keyRing has the keys that all seeds use: to make one takes longer than to look it up.
var keyRing = sync.OnceValue(func() map[string]*signingKey { //nolint:gochecknoglobals // written once
	ring := map[string]*signingKey{}
	for _, name := range []string{"k0", "k1", "k2", "k3", "k4", "k5", "foreign", "forger"} {
		ring[name] = newSigningKey(name)
	}
	return ring
})

// token is what the oracle knows of a token that it made: it never reads one.
type token struct {
	text       string
	key        *signingKey // that signed it
	named      string      // the key id in its header
	legacy     bool
	foreign    bool // another cluster's
	namespace  string
	account    string
	accountUID string
	secret     string // that holds a legacy token
	expires    time.Time
}

// claims of a token, as Kubernetes makes them.
func (t *token) claims(now time.Time) map[string]any {
	subject := "system:serviceaccount:" + t.namespace + ":" + t.account
	if t.legacy {
		return map[string]any{
			"iss": legacyIssuer, "sub": subject,
			"kubernetes.io/serviceaccount/namespace":            t.namespace,
			"kubernetes.io/serviceaccount/secret.name":          t.secret,
			"kubernetes.io/serviceaccount/service-account.name": t.account,
			"kubernetes.io/serviceaccount/service-account.uid":  t.accountUID,
		}
	}
	return map[string]any{
		"iss": issuer, "sub": subject, "aud": []string{issuer}, "iat": now.Unix(), "nbf": now.Unix(), "exp": t.expires.Unix(),
		"kubernetes.io": map[string]any{"namespace": t.namespace, "serviceaccount": map[string]string{"name": t.account, "uid": t.accountUID}},
	}
}

// mint signs a token and remembers it. Without a key id the header names none.
func (w *world) mint(t token, by *signingKey, keyID string) string {
	header := map[string]any{"alg": "ES256"}
	if keyID != "" {
		header["kid"] = keyID
	}
	t.key, t.named, t.text = by, keyID, by.sign(header, t.claims(time.Now()))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens[t.text] = &t
	return t.text
}
