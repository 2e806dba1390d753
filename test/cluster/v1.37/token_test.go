package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	jose "gopkg.in/go-jose/go-jose.v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"tokenward.dev/tokenward/pkg/token"
)

const issuer = "https://kubernetes.default.svc.cluster.local"

type claims = map[string]any

// with returns claims with some changed; nil leaves one out.
func with(base, changed claims) claims {
	base = maps.Clone(base)
	for name, value := range changed {
		if base[name] = value; value == nil {
			delete(base, name)
		}
	}
	return base
}

// bench makes tokens, and worlds in which they are good.
type bench struct {
	rsaKey, foreignRSA *rsa.PrivateKey
	ecKey              *ecdsa.PrivateKey
	start              time.Time
}

func newBench(t *testing.T) *bench {
	b := &bench{start: time.Now()}
	var errs [3]error
	b.rsaKey, errs[0] = rsa.GenerateKey(cryptorand.Reader, 2048)
	b.foreignRSA, errs[1] = rsa.GenerateKey(cryptorand.Reader, 2048)
	b.ecKey, errs[2] = ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return b
}

// world returns one where everything is well and the Secret holds the token.
func (b *bench) world(raw string) *world {
	meta := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-of-" + name)}
	}
	return &world{
		keys:    []any{&b.rsaKey.PublicKey, &b.ecKey.PublicKey},
		account: &corev1.ServiceAccount{ObjectMeta: meta("shop", "runner")},
		secret:  &corev1.Secret{ObjectMeta: meta("shop", "secret"), Data: map[string][]byte{"token": []byte(raw)}},
		pod:     &corev1.Pod{ObjectMeta: meta("shop", "cart")},
		node:    &corev1.Node{ObjectMeta: meta("", "node-1")},
	}
}

func (*bench) legacy() claims {
	return claims{
		"iss": serviceaccount.LegacyIssuer, "sub": "system:serviceaccount:shop:runner",
		"kubernetes.io/serviceaccount/namespace": "shop", "kubernetes.io/serviceaccount/secret.name": "secret",
		"kubernetes.io/serviceaccount/service-account.name": "runner", "kubernetes.io/serviceaccount/service-account.uid": "uid-of-runner",
	}
}

func ref(name string) claims { return claims{"name": name, "uid": "uid-of-" + name} }

// bound returns the claims of a token that is bound to one kind of object.
func (b *bench) bound(kind, name string) claims {
	k := claims{"namespace": "shop", "serviceaccount": ref("runner")}
	if kind != "" {
		k[kind] = ref(name)
	}
	now := b.start.Unix()
	return claims{
		"iss": issuer, "sub": "system:serviceaccount:shop:runner", "aud": []string{issuer}, "jti": "j",
		"iat": now - 10, "nbf": now - 10, "exp": now + 3600, "kubernetes.io": k,
	}
}

// sign signs anything with any algorithm; key ids are upstream's.
func sign(t *testing.T, algorithm jose.SignatureAlgorithm, key any, kid string, payload claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func keyID(t *testing.T, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// agree demands that Valid is accepted and Invalid refused. What is Unknown is
// for the caller to expect.
func agree(t *testing.T, w *world, raw string) (token.Result, bool) {
	t.Helper()
	got, accepted := w.ours(t, raw), w.upstream(t, raw)
	if got.Verdict == token.Valid && !accepted || got.Verdict == token.Invalid && accepted {
		t.Errorf("we say %v (%s); upstream accepts it: %v", got.Verdict, got.Reason, accepted)
	}
	return got, accepted
}

type tokenCase struct {
	name  string
	token string
	world func(*world)
	want  token.Verdict
}

func TestVerdictsAreThoseOfUpstreamsAuthenticator(t *testing.T) {
	b := newBench(t)
	for _, c := range append(b.signatureCases(t), b.objectCases(t)...) {
		t.Run(c.name, func(t *testing.T) {
			w := b.world(c.token)
			if c.world != nil {
				c.world(w)
			}
			if got, accepted := agree(t, w, c.token); got.Verdict != c.want {
				t.Errorf("got %v (%s), want %v; upstream accepts it: %v", got.Verdict, got.Reason, c.want, accepted)
			}
		})
	}
}

func (b *bench) signatureCases(t *testing.T) []tokenCase {
	id, ecID, foreignID := keyID(t, b.rsaKey.Public()), keyID(t, b.ecKey.Public()), keyID(t, b.foreignRSA.Public())
	rs256 := func(c claims) string { return sign(t, jose.RS256, b.rsaKey, id, c) }
	legacy, bound := rs256(b.legacy()), rs256(b.bound("pod", "cart"))
	parts := strings.Split(bound, ".")
	tamperedPayload := []byte(parts[1])
	tamperedPayload[20] ^= 1
	spare := []byte(bound) // the last character of an RSA-2048 signature has four spare bits
	spare[len(spare)-1] = map[byte]byte{'A': 'B', 'Q': 'R', 'g': 'h', 'w': 'x'}[spare[len(spare)-1]]
	der, err := x509.MarshalPKIXPublicKey(b.rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	now := b.start.Unix()
	at := func(name string, seconds int64) string {
		return rs256(with(b.bound("", ""), claims{name: now + seconds}))
	}
	unsettled := func(w *world) { w.unsettled = true }
	return []tokenCase{
		{name: "legacy", token: legacy, want: token.Valid},
		{name: "bound to a pod", token: bound, want: token.Valid},
		{name: "bound to a Secret", token: rs256(b.bound("secret", "secret")), want: token.Valid},
		{name: "bound to a node", token: rs256(b.bound("node", "node-1")), want: token.Valid},
		{name: "bound to nothing", token: rs256(b.bound("", "")), want: token.Valid},
		{name: "RS512", token: sign(t, jose.RS512, b.rsaKey, id, b.legacy()), want: token.Valid},
		{name: "PS256", token: sign(t, jose.PS256, b.rsaKey, id, b.legacy()), want: token.Valid},
		{name: "ES256", token: sign(t, jose.ES256, b.ecKey, ecID, b.legacy()), want: token.Valid},
		{name: "no key id", token: sign(t, jose.ES256, b.ecKey, "", b.legacy()), want: token.Valid},
		{name: "no key id, another key", token: sign(t, jose.RS256, b.foreignRSA, "", b.legacy()), want: token.Invalid},
		{name: "unknown key id", token: sign(t, jose.RS256, b.foreignRSA, foreignID, b.legacy()), want: token.Invalid},
		{name: "unknown key id, unsettled", token: sign(t, jose.RS256, b.foreignRSA, foreignID, b.legacy()), world: unsettled, want: token.Unknown},
		{name: "unknown key id, known key", token: sign(t, jose.RS256, b.rsaKey, foreignID, b.legacy()), want: token.Invalid},
		{name: "another's key id", token: sign(t, jose.RS256, b.foreignRSA, id, b.legacy()), want: token.Invalid},
		{name: "the key id of a key of another kind", token: sign(t, jose.RS256, b.rsaKey, ecID, b.legacy()), want: token.Invalid},
		{name: "tampered payload", token: parts[0] + "." + string(tamperedPayload) + "." + parts[2], want: token.Invalid},
		{name: "tampered signature", token: parts[0] + "." + parts[1] + ".AAAA" + parts[2][4:], want: token.Invalid},
		{name: "spare bits of the signature", token: string(spare), want: token.Valid},
		{name: "spare bits, and the Secret holds the original", token: legacy[:len(legacy)-1] + string(legacy[len(legacy)-1]+1),
			world: func(w *world) { w.secret.Data["token"] = []byte(legacy) }, want: token.Invalid},
		{name: "alg none", token: base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", want: token.Invalid},
		{name: "HMAC with the public key", token: sign(t, jose.HS256, der, id, b.legacy()), want: token.Invalid},
		{name: "two parts", token: parts[0] + "." + parts[1], want: token.Invalid},
		{name: "padding", token: parts[0] + "=." + parts[1] + "." + parts[2], want: token.Invalid},
		{name: "a line break in the Secret", token: legacy + "\n", want: token.Invalid},
		{name: "a line break that the client trims", token: bound + "\n", want: token.Valid},
		{name: "nothing", token: "", want: token.Invalid},
		{name: "expired by 30 seconds", token: at("exp", -30), want: token.Valid},
		{name: "expired by 2 minutes", token: at("exp", -120), want: token.Invalid},
		{name: "not before in 30 seconds", token: at("nbf", 30), want: token.Valid},
		{name: "not before in 2 minutes", token: at("nbf", 120), want: token.Invalid},
		{name: "issued in 2 minutes", token: at("iat", 120), want: token.Invalid},
		{name: "legacy and expired", token: rs256(with(b.legacy(), claims{"exp": 1})), want: token.Valid},
		{name: "another issuer", token: rs256(with(b.bound("", ""), claims{"iss": "https://other"})), want: token.Unknown},
		{name: "no issuer", token: rs256(with(b.bound("", ""), claims{"iss": nil})), want: token.Invalid},
		{name: "a foreign audience", token: rs256(with(b.bound("", ""), claims{"aud": "vault"})), want: token.Unknown},
		{name: "a foreign audience of a legacy token", token: rs256(with(b.legacy(), claims{"aud": "vault"})), want: token.Unknown},
		{name: "one of two audiences", token: rs256(with(b.bound("", ""), claims{"aud": []string{"vault", issuer}})), want: token.Valid},
		{name: "no audience", token: rs256(with(b.bound("", ""), claims{"aud": nil})), want: token.Valid},
		{name: "bound with the legacy issuer", token: rs256(with(b.bound("", ""), claims{"iss": serviceaccount.LegacyIssuer})), want: token.Unknown},
		{name: "legacy with the issuer of bound ones", token: rs256(with(b.legacy(), claims{"iss": issuer})), want: token.Invalid},
	}
}

func (b *bench) objectCases(t *testing.T) []tokenCase {
	id := keyID(t, b.rsaKey.Public())
	rs256 := func(c claims) string { return sign(t, jose.RS256, b.rsaKey, id, c) }
	change := func(name string, value any) string {
		return rs256(with(b.legacy(), claims{"kubernetes.io/serviceaccount/" + name: value}))
	}
	kubernetes := func(name string, value any) string {
		c := b.bound("", "")
		return rs256(with(c, claims{"kubernetes.io": with(c["kubernetes.io"].(claims), claims{name: value})}))
	}
	legacy, toPod, toSecret, toNode := rs256(b.legacy()), rs256(b.bound("pod", "cart")), rs256(b.bound("secret", "secret")), rs256(b.bound("node", "node-1"))
	ago := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: b.start.Add(-d)} }
	return []tokenCase{
		{name: "the subject is another", token: rs256(with(b.legacy(), claims{"sub": "system:serviceaccount:shop:admin"})), want: token.Invalid},
		{name: "the subject of a bound token is another", token: rs256(with(b.bound("", ""), claims{"sub": "somebody"})), want: token.Valid},
		{name: "another namespace", token: change("namespace", "bank"), want: token.Invalid},
		{name: "another uid", token: change("service-account.uid", "x"), want: token.Invalid},
		{name: "no Secret is named", token: change("secret.name", nil), want: token.Invalid},
		{name: "a claim of a wrong type", token: change("secret.name", 1), want: token.Invalid},
		{name: "a bound claim of a wrong type", token: kubernetes("namespace", 1), want: token.Invalid},
		{name: "another namespace, bound", token: kubernetes("namespace", "bank"), want: token.Invalid},
		{name: "another uid, bound", token: kubernetes("serviceaccount", claims{"name": "runner", "uid": "x"}), want: token.Invalid},
		{name: "a pod without a name", token: kubernetes("pod", claims{}), want: token.Invalid},
		{name: "bound to a webhook configuration", token: kubernetes("validatingwebhookconfiguration", ref("w")), want: token.Unknown},
		{name: "Secret gone", token: legacy, world: func(w *world) { w.secret = nil }, want: token.Invalid},
		{name: "Secret differs", token: legacy, world: func(w *world) { w.secret.Data["token"] = []byte(toPod) }, want: token.Invalid},
		{name: "Secret is empty", token: legacy, world: func(w *world) { w.secret.Data = nil }, want: token.Invalid},
		{name: "Secret is being deleted", token: legacy, world: func(w *world) { w.secret.DeletionTimestamp = ago(0) }, want: token.Invalid},
		{name: "Secret made anew with the same token", token: legacy, world: func(w *world) { w.secret.UID = "x" }, want: token.Valid},
		{name: "marked by the cleaner", token: legacy, want: token.Invalid,
			world: func(w *world) {
				w.secret.Labels = map[string]string{serviceaccount.InvalidSinceLabelKey: "2026-01-01"}
			}},
		{name: "a mark without a date", token: legacy, want: token.Valid,
			world: func(w *world) { w.secret.Labels = map[string]string{serviceaccount.InvalidSinceLabelKey: ""} }},
		{name: "account gone", token: legacy, world: func(w *world) { w.account = nil }, want: token.Invalid},
		{name: "account made anew", token: legacy, world: func(w *world) { w.account.UID = "x" }, want: token.Invalid},
		{name: "account is being deleted", token: legacy, world: func(w *world) { w.account.DeletionTimestamp = ago(0) }, want: token.Invalid},
		{name: "account gone, bound", token: toPod, world: func(w *world) { w.account = nil }, want: token.Invalid},
		{name: "account made anew, bound", token: toPod, world: func(w *world) { w.account.UID = "x" }, want: token.Invalid},
		{name: "account deleted 30 seconds ago, bound", token: toPod, world: func(w *world) { w.account.DeletionTimestamp = ago(30 * time.Second) }, want: token.Valid},
		{name: "account deleted 2 minutes ago, bound", token: toPod, world: func(w *world) { w.account.DeletionTimestamp = ago(2 * time.Minute) }, want: token.Invalid},
		{name: "pod gone", token: toPod, world: func(w *world) { w.pod = nil }, want: token.Invalid},
		{name: "pod made anew", token: toPod, world: func(w *world) { w.pod.UID = "x" }, want: token.Invalid},
		{name: "pod deleted 30 seconds ago", token: toPod, world: func(w *world) { w.pod.DeletionTimestamp = ago(30 * time.Second) }, want: token.Valid},
		{name: "pod deleted 2 minutes ago", token: toPod, world: func(w *world) { w.pod.DeletionTimestamp = ago(2 * time.Minute) }, want: token.Invalid},
		{name: "the node of a pod is gone", token: rs256(with(b.bound("", ""), claims{"kubernetes.io": claims{
			"namespace": "shop", "serviceaccount": ref("runner"), "pod": ref("cart"), "node": ref("node-1"),
		}})), world: func(w *world) { w.node = nil }, want: token.Valid},
		{name: "bound Secret gone", token: toSecret, world: func(w *world) { w.secret = nil }, want: token.Invalid},
		{name: "bound Secret made anew", token: toSecret, world: func(w *world) { w.secret.UID = "x" }, want: token.Invalid},
		{name: "bound Secret marked by the cleaner", token: toSecret, want: token.Valid,
			world: func(w *world) {
				w.secret.Labels = map[string]string{serviceaccount.InvalidSinceLabelKey: "2026-01-01"}
			}},
		{name: "node gone", token: toNode, world: func(w *world) { w.node = nil }, want: token.Invalid},
		{name: "node made anew", token: toNode, world: func(w *world) { w.node.UID = "x" }, want: token.Invalid},
		{name: "node deleted 2 minutes ago", token: toNode, world: func(w *world) { w.node.DeletionTimestamp = ago(2 * time.Minute) }, want: token.Invalid},
	}
}
