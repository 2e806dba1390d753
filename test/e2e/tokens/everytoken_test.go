package tokens

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// otherUID is no object's.
const otherUID = "00000000-0000-4000-8000-000000000000"

// mint makes tokens of the account robot.
type mint struct {
	*field
	key       *rsa.PrivateKey // which the API server accepts
	kid       string
	publicKey string // the file of its public half
	robot     types.UID
	tokens    map[string]string // by the name of the Secret that each is in
}

// everyToken makes tokens of all kinds, good and bad, each in a Secret of its
// name, and says of which nobody can tell from outside what they are worth.
func (f *field) everyToken(t *testing.T) (tokens, unknown map[string]string) {
	t.Helper()
	private, public, key := f.newRSA(t, "rsa")
	ecPublic := filepath.Join(filepath.Dir(f.plane.SigningKey()), "sa-signer.crt")
	if err := f.plane.UseSigningKey(private, public, ecPublic); err != nil {
		t.Fatal(err)
	}
	robot, err := f.client.CoreV1().ServiceAccounts(home).Get(t.Context(), "robot", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := &mint{field: f, key: key, kid: kidOf(t, key.Public()), publicKey: public, robot: robot.UID, tokens: map[string]string{}}
	m.tokens["good-rsa"] = f.tokenSecret(t, "good-rsa", "robot")
	m.holdLegacy(t)
	m.holdLabelled(t)
	m.copyOfDeleted(t)
	m.reissue(t)
	m.ofRecreatedAccount(t)
	m.requestBound(t)
	m.mintBound(t)
	m.hold(t, "good-ec", m.legacyOfFirstKey(t, ecPublic))
	return m.tokens, map[string]string{
		"foreign-audience": "good elsewhere",
		"other-issuer":     "the API server may have more issuers than it publishes",
	}
}

// legacyClaims are those of a token in a token Secret, but for some.
func (m *mint) legacyClaims(secret string, other map[string]any) map[string]any {
	claims := map[string]any{
		"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:robot",
		"kubernetes.io/serviceaccount/namespace": home, "kubernetes.io/serviceaccount/secret.name": secret,
		"kubernetes.io/serviceaccount/service-account.name": "robot", "kubernetes.io/serviceaccount/service-account.uid": string(m.robot),
	}
	maps.Copy(claims, other)
	return claims
}

// hold puts a token of our making into a token Secret, where the controller
// leaves it.
func (m *mint) hold(t *testing.T, name, text string) {
	t.Helper()
	before := m.tokenSecret(t, name, "robot")
	s, err := m.client.CoreV1().Secrets(home).Patch(t.Context(), name, types.MergePatchType,
		[]byte(`{"data":{"token":"`+base64.StdEncoding.EncodeToString([]byte(text))+`"}}`), metav1.PatchOptions{})
	if err != nil || string(s.Data["token"]) == before {
		t.Fatalf("%v", err)
	}
	m.tokens[name] = text
}

// copy puts a token into a Secret of no special type.
func (m *mint) copy(t *testing.T, name, text string) {
	t.Helper()
	m.keep(t, name, text)
	m.tokens[name] = text
}

// holdLegacy makes token Secrets, each with one fault, or one oddity that is none.
func (m *mint) holdLegacy(t *testing.T) {
	t.Helper()
	public, err := os.ReadFile(m.publicKey)
	if err != nil {
		t.Fatal(err)
	}
	_, _, stranger := m.newRSA(t, "stranger")
	for _, tt := range []struct {
		name      string
		algorithm jose.SignatureAlgorithm
		key       any
		kid       string
		claims    map[string]any // other than they should be
	}{
		{"without-kid", jose.RS256, m.key, "", nil},
		{"rs512", jose.RS512, m.key, m.kid, nil},
		{"hmac-with-public-key", jose.HS256, public, m.kid, nil},
		{"foreign-key-known-kid", jose.RS256, stranger, m.kid, nil},
		{"foreign-key-without-kid", jose.RS256, stranger, "", nil},
		{"foreign-key-own-kid", jose.RS256, stranger, kidOf(t, stranger.Public()), nil},
		{"contradictory", jose.RS256, m.key, m.kid, map[string]any{"sub": "system:serviceaccount:default:other"}},
		{"other-namespace", jose.RS256, m.key, m.kid, map[string]any{"kubernetes.io/serviceaccount/namespace": "kube-system"}},
		{"other-account-uid", jose.RS256, m.key, m.kid, map[string]any{"kubernetes.io/serviceaccount/service-account.uid": otherUID}},
	} {
		m.hold(t, tt.name, harness.Mint(t, tt.algorithm, tt.key, tt.kid, m.legacyClaims(tt.name, tt.claims)))
	}
	part := strings.Split(harness.Mint(t, jose.RS256, m.key, m.kid, m.legacyClaims("tampered-payload", nil)), ".")
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	for name, parts := range map[string][3]string{
		"tampered-payload":   {part[0], encode(`{"sub":"system:serviceaccount:default:robot","x":1}`), part[2]},
		"tampered-signature": {part[0], part[1], part[2][:20] + strings.ToLower(part[2][20:24]) + "x" + part[2][25:]},
		"algorithm-none":     {encode(`{"alg":"none"}`), part[1], ""},
	} {
		m.hold(t, name, strings.Join(parts[:], "."))
	}
}

// holdLabelled makes a token Secret that the cleaner of legacy tokens has taken
// out of use.
func (m *mint) holdLabelled(t *testing.T) {
	t.Helper()
	m.tokens["cleaners-label"] = m.tokenSecret(t, "cleaners-label", "robot")
	if _, err := m.client.CoreV1().Secrets(home).Patch(t.Context(), "cleaners-label", types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"kubernetes.io/legacy-token-invalid-since":"2026-01-01"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// copyOfDeleted copies a token whose Secret is there, and one whose Secret is not.
func (m *mint) copyOfDeleted(t *testing.T) {
	t.Helper()
	m.copy(t, "copy", m.tokens["good-rsa"])
	m.copy(t, "secret-deleted", m.tokenSecret(t, "to-be-deleted", "robot"))
	if err := m.client.CoreV1().Secrets(home).Delete(t.Context(), "to-be-deleted", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// reissue has a token Secret filled anew, and keeps a copy of what was in it.
func (m *mint) reissue(t *testing.T) {
	t.Helper()
	stale := harness.Mint(t, jose.RS256, m.key, m.kid, m.legacyClaims("re-issued", map[string]any{"old": true}))
	m.hold(t, "re-issued", stale)
	if _, err := m.client.CoreV1().Secrets(home).Patch(t.Context(), "re-issued", types.JSONPatchType, []byte(`[{"op":"remove","path":"/data/token"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	m.tokens["re-issued"] = m.filled(t, "re-issued", stale)
	m.copy(t, "stale-copy", stale)
}

// ofRecreatedAccount makes tokens of an account that is then deleted and made again.
func (m *mint) ofRecreatedAccount(t *testing.T) {
	t.Helper()
	m.account(t, "reborn")
	m.copy(t, "account-recreated", m.tokenSecret(t, "reborn-token", "reborn"))
	m.copy(t, "bound-account-recreated", m.request(t, "reborn", authenticationv1.TokenRequestSpec{}))
	if err := m.client.CoreV1().ServiceAccounts(home).Delete(t.Context(), "reborn", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	m.account(t, "reborn")
}

// requestBound gets tokens from the API server: for nothing special, for a pod,
// for a pod that is gone, and for somebody else's audience.
func (m *mint) requestBound(t *testing.T) {
	t.Helper()
	pods := m.client.CoreV1().Pods(home)
	toPod := func(name string) authenticationv1.TokenRequestSpec {
		p, err := pods.Create(t.Context(), harness.Pod(name, harness.RunAs("robot")), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Name, UID: p.UID}}
	}
	for name, spec := range map[string]authenticationv1.TokenRequestSpec{
		"bound": {}, "bound-to-pod": toPod("bound"), "pod-gone": toPod("gone"), "foreign-audience": {Audiences: []string{"vault"}},
	} {
		m.copy(t, name, m.request(t, "robot", spec))
	}
	zero := int64(0)
	if err := pods.Delete(t.Context(), "gone", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
}

// mintBound makes bound tokens that the API server would not issue now.
func (m *mint) mintBound(t *testing.T) {
	t.Helper()
	now := time.Now()
	for _, tt := range []struct {
		name, issuer       string
		expires, notBefore time.Duration
	}{
		{"bound-minted", harness.Issuer, time.Hour, 0},
		{"expired", harness.Issuer, -time.Hour, -2 * time.Hour},
		{"not-yet-valid", harness.Issuer, 2 * time.Hour, time.Hour},
		{"other-issuer", "https://other.example.test", time.Hour, 0},
	} {
		from := now.Add(tt.notBefore).Unix()
		m.copy(t, tt.name, harness.Mint(t, jose.RS256, m.key, m.kid, map[string]any{
			"iss": tt.issuer, "aud": []string{harness.Issuer}, "sub": "system:serviceaccount:default:robot",
			"exp": now.Add(tt.expires).Unix(), "nbf": from, "iat": from,
			"kubernetes.io": map[string]any{"namespace": home, "serviceaccount": map[string]any{"name": "robot", "uid": string(m.robot)}},
		}))
	}
}

// legacyOfFirstKey is signed by the key that the control plane started with, and
// still accepts.
func (m *mint) legacyOfFirstKey(t *testing.T, ecPublic string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(ecPublic), "sa-signer.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if key, err = x509.ParseECPrivateKey(block.Bytes); err != nil {
			t.Fatal(err)
		}
	}
	return harness.Mint(t, jose.ES256, key, kidOf(t, key.(crypto.Signer).Public()), m.legacyClaims("good-ec", nil))
}
