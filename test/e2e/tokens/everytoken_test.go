package tokens

import (
	"crypto"
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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// everyToken makes tokens of all kinds, good and bad, each in a Secret of its
// name, and says of which nobody can tell from outside what they are worth.
func (f *field) everyToken(t *testing.T) (tokens, unknown map[string]string) {
	t.Helper()
	rsaPrivate, rsaPublic, key := f.newRSA(t, "rsa")
	ecPublic := filepath.Join(filepath.Dir(f.plane.SigningKey()), "sa-signer.crt")
	if err := f.plane.UseSigningKey(rsaPrivate, rsaPublic, ecPublic); err != nil {
		t.Fatal(err)
	}
	kid := kidOf(t, key.Public())
	robot, err := f.client.CoreV1().ServiceAccounts(home).Get(t.Context(), "robot", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, unknown = map[string]string{}, map[string]string{} // by what it shows
	legacy := func(secret string, more map[string]any) map[string]any {
		claims := map[string]any{
			"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:robot",
			"kubernetes.io/serviceaccount/namespace": home, "kubernetes.io/serviceaccount/secret.name": secret,
			"kubernetes.io/serviceaccount/service-account.name": "robot", "kubernetes.io/serviceaccount/service-account.uid": string(robot.UID),
		}
		maps.Copy(claims, more)
		return claims
	}
	// held puts a token of our making into a token Secret, where the controller
	// leaves it.
	held := func(name, text string) {
		before := f.tokenSecret(t, name, "robot")
		s, err := f.client.CoreV1().Secrets(home).Patch(t.Context(), name, types.MergePatchType,
			[]byte(`{"data":{"token":"`+base64.StdEncoding.EncodeToString([]byte(text))+`"}}`), metav1.PatchOptions{})
		if err != nil || string(s.Data["token"]) == before {
			t.Fatalf("%v", err)
		}
		tokens[name] = text
	}
	tokens["good-rsa"] = f.tokenSecret(t, "good-rsa", "robot")
	held("without-kid", harness.Mint(t, jose.RS256, key, "", legacy("without-kid", nil)))
	held("rs512", harness.Mint(t, jose.RS512, key, kid, legacy("rs512", nil)))
	good := strings.Split(harness.Mint(t, jose.RS256, key, kid, legacy("tampered-payload", nil)), ".")
	held("tampered-payload", good[0]+"."+base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"system:serviceaccount:default:robot","x":1}`))+"."+good[2])
	held("tampered-signature", good[0]+"."+good[1]+"."+good[2][:20]+strings.ToLower(good[2][20:24])+"x"+good[2][25:])
	held("algorithm-none", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))+"."+good[1]+".")
	public, err := os.ReadFile(rsaPublic)
	if err != nil {
		t.Fatal(err)
	}
	held("hmac-with-public-key", harness.Mint(t, jose.HS256, public, kid, legacy("hmac-with-public-key", nil)))
	_, _, stranger := f.newRSA(t, "stranger")
	held("foreign-key-known-kid", harness.Mint(t, jose.RS256, stranger, kid, legacy("foreign-key-known-kid", nil)))
	held("foreign-key-without-kid", harness.Mint(t, jose.RS256, stranger, "", legacy("foreign-key-without-kid", nil)))
	held("foreign-key-own-kid", harness.Mint(t, jose.RS256, stranger, kidOf(t, stranger.Public()), legacy("foreign-key-own-kid", nil)))
	held("contradictory", harness.Mint(t, jose.RS256, key, kid, legacy("contradictory", map[string]any{"sub": "system:serviceaccount:default:other"})))
	held("other-namespace", harness.Mint(t, jose.RS256, key, kid, legacy("other-namespace", map[string]any{"kubernetes.io/serviceaccount/namespace": "kube-system"})))
	held("other-account-uid", harness.Mint(t, jose.RS256, key, kid, legacy("other-account-uid", map[string]any{"kubernetes.io/serviceaccount/service-account.uid": "00000000-0000-4000-8000-000000000000"})))

	// The cleaner's label.
	tokens["cleaners-label"] = f.tokenSecret(t, "cleaners-label", "robot")
	if _, err := f.client.CoreV1().Secrets(home).Patch(t.Context(), "cleaners-label", types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"kubernetes.io/legacy-token-invalid-since":"2026-01-01"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	// Copies.
	copied := func(name, text string) { f.keep(t, name, text); tokens[name] = text }
	copied("copy", tokens["good-rsa"])
	copied("secret-deleted", f.tokenSecret(t, "to-be-deleted", "robot"))
	if err := f.client.CoreV1().Secrets(home).Delete(t.Context(), "to-be-deleted", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	stale := harness.Mint(t, jose.RS256, key, kid, legacy("re-issued", map[string]any{"old": true}))
	held("re-issued", stale)
	if _, err := f.client.CoreV1().Secrets(home).Patch(t.Context(), "re-issued", types.JSONPatchType, []byte(`[{"op":"remove","path":"/data/token"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	tokens["re-issued"] = f.filled(t, "re-issued", stale)
	copied("stale-copy", stale)
	// Accounts.
	f.account(t, "reborn")
	copied("account-recreated", f.tokenSecret(t, "reborn-token", "reborn"))
	copied("bound-account-recreated", f.request(t, "reborn", authenticationv1.TokenRequestSpec{}))
	if err := f.client.CoreV1().ServiceAccounts(home).Delete(t.Context(), "reborn", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.account(t, "reborn")
	// Bound tokens.
	copied("bound", f.request(t, "robot", authenticationv1.TokenRequestSpec{}))
	made, err := f.client.CoreV1().Pods(home).Create(t.Context(), harness.Pod("bound", func(s *corev1.PodSpec) { s.ServiceAccountName = "robot" }), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	toPod := &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: made.Name, UID: made.UID}
	copied("bound-to-pod", f.request(t, "robot", authenticationv1.TokenRequestSpec{BoundObjectRef: toPod}))
	gone, err := f.client.CoreV1().Pods(home).Create(t.Context(), harness.Pod("gone", func(s *corev1.PodSpec) { s.ServiceAccountName = "robot" }), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	toGone := &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: gone.Name, UID: gone.UID}
	copied("pod-gone", f.request(t, "robot", authenticationv1.TokenRequestSpec{BoundObjectRef: toGone}))
	zero := int64(0)
	if err := f.client.CoreV1().Pods(home).Delete(t.Context(), "gone", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	bound := func(iss string, exp, nbf time.Time) map[string]any {
		return map[string]any{
			"iss": iss, "aud": []string{harness.Issuer}, "sub": "system:serviceaccount:default:robot", "exp": exp.Unix(), "nbf": nbf.Unix(), "iat": nbf.Unix(),
			"kubernetes.io": map[string]any{"namespace": home, "serviceaccount": map[string]any{"name": "robot", "uid": string(robot.UID)}},
		}
	}
	copied("bound-minted", harness.Mint(t, jose.RS256, key, kid, bound(harness.Issuer, now.Add(time.Hour), now)))
	copied("expired", harness.Mint(t, jose.RS256, key, kid, bound(harness.Issuer, now.Add(-time.Hour), now.Add(-2*time.Hour))))
	copied("not-yet-valid", harness.Mint(t, jose.RS256, key, kid, bound(harness.Issuer, now.Add(2*time.Hour), now.Add(time.Hour))))
	copied("foreign-audience", f.request(t, "robot", authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}}))
	unknown["foreign-audience"] = "good elsewhere"
	copied("other-issuer", harness.Mint(t, jose.RS256, key, kid, bound("https://other.example.test", now.Add(time.Hour), now)))
	unknown["other-issuer"] = "the API server may have more issuers than it publishes"
	// Of the other key that is accepted.
	ecKey, err := os.ReadFile(filepath.Join(filepath.Dir(ecPublic), "sa-signer.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(ecKey)
	ec, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		held("good-ec", harness.Mint(t, jose.ES256, parsed, kidOf(t, parsed.(crypto.Signer).Public()), legacy("good-ec", nil)))
	} else {
		held("good-ec", harness.Mint(t, jose.ES256, ec, kidOf(t, ec.Public()), legacy("good-ec", nil)))
	}
	return tokens, unknown
}
