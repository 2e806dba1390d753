package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const issuer = "https://kubernetes.default.svc.cluster.local"

var now = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// The keys of all tests: two RSA and one EC key. Making them takes long.
var (
	rsaKey   = sync.OnceValue(newRSAKey)
	otherKey = sync.OnceValue(newRSAKey)
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { return newECKey(elliptic.P256()) })
)

func newRSAKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func newECKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// public returns the public half of a key, with the id that the API server gives it.
func public(t testing.TB, private crypto.Signer) Key {
	t.Helper()
	key, err := newKey("", private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

type object = map[string]any

// legacyPayload is what the token controller signs for Secret shop/runner-token.
func legacyPayload() object {
	return object{
		"iss":                                    LegacyIssuer,
		"sub":                                    "system:serviceaccount:shop:runner",
		"kubernetes.io/serviceaccount/namespace": "shop",
		"kubernetes.io/serviceaccount/secret.name":          "runner-token",
		"kubernetes.io/serviceaccount/service-account.name": "runner",
		"kubernetes.io/serviceaccount/service-account.uid":  "uid-of-runner",
	}
}

// boundPayload is what the TokenRequest API signs, bound to pod shop/cart.
func boundPayload() object {
	return object{
		"iss": issuer, "sub": "system:serviceaccount:shop:runner", "aud": []string{issuer}, "jti": "id-of-token",
		"iat": now.Unix() - 600, "nbf": now.Unix() - 600, "exp": now.Unix() + 3000,
		"kubernetes.io": object{
			"namespace":      "shop",
			"serviceaccount": object{"name": "runner", "uid": "uid-of-runner"},
			"pod":            object{"name": "cart", "uid": "uid-of-cart"},
			"node":           object{"name": "node-1", "uid": "uid-of-node-1"},
			"warnafter":      now.Unix() + 2000,
		},
	}
}

// with returns a payload with other claims; those that are nil are left out.
func with(payload, claims object) object {
	payload = maps.Clone(payload)
	for name, value := range claims {
		if value == nil {
			delete(payload, name)
		} else {
			payload[name] = value
		}
	}
	return payload
}

// boundTo returns a bound payload with other claims of Kubernetes.
func boundTo(claims object) object {
	p := boundPayload()
	p["kubernetes.io"] = with(p["kubernetes.io"].(object), claims)
	return p
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func toJSON(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return data
}

// sign makes a token. An empty kid is left out.
func sign(t testing.TB, algorithm jose.SignatureAlgorithm, key any, kid string, payload object) string {
	t.Helper()
	return signWith(t, jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil, payload)
}

func signWith(t testing.TB, key jose.SigningKey, options *jose.SignerOptions, payload object) string {
	t.Helper()
	signer, err := jose.NewSigner(key, options)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(toJSON(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// usual signs as kube-controller-manager does.
func usual(t testing.TB, payload object) string {
	return sign(t, jose.RS256, rsaKey(), public(t, rsaKey()).ID, payload)
}

func parse(t testing.TB, raw string) *Token {
	t.Helper()
	token, err := Parse([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// allIsWell are the facts under which every good token of these tests is valid.
func allIsWell(raw string) *Facts {
	return &Facts{
		ServiceAccount: Object{State: Present, UID: "uid-of-runner"},
		Secret:         Secret{Object: Object{State: Present, UID: "uid-of-secret"}, TokenHash: sha256.Sum256([]byte(raw))},
		Pod:            Object{State: Present, UID: "uid-of-cart"},
		Node:           Object{State: Present, UID: "uid-of-node-1"},
		SigningKey:     Absent, // where no key fits
	}
}
