package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"tokenward.dev/tokenward/pkg/servingcert"
	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/cluster"
)

// tokenDeny refuses pods for tokens that are not accepted.
const tokenDeny = `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: tokens}, spec: {checks: [{name: token-valid, action: Deny}]}}`

// field is a control plane of its own, for tests that change its keys.
type field struct {
	installed *installation // the rights of the webhook
	plane     *cluster.Cluster
	client    kubernetes.Interface
	dir       string
}

func newField(t *testing.T) *field {
	t.Helper()
	own, c := ownPlane(t)
	f := &field{plane: own, client: c, dir: t.TempDir(), installed: installIn(t, own, chart.Default())}
	f.account(t, "robot")
	return f
}

func (f *field) address() string {
	return strings.TrimSuffix(strings.TrimPrefix(f.plane.Config.Host, "https://"), "/")
}

const home = metav1.NamespaceDefault

func (f *field) account(t *testing.T, name string) {
	t.Helper()
	_, err := f.client.CoreV1().ServiceAccounts(home).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// tokenSecret makes a token Secret and returns the token that it is filled with.
func (f *field) tokenSecret(t *testing.T, name, account string) string {
	t.Helper()
	_, err := f.client.CoreV1().Secrets(home).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: account}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return f.filled(t, name, "")
}

// filled waits until a token Secret holds a token other than the one before.
func (f *field) filled(t *testing.T, name, before string) string {
	t.Helper()
	text := ""
	waitUntil(t, func() error {
		s, err := f.client.CoreV1().Secrets(home).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if text = string(s.Data["token"]); text == "" || text == before {
			return errors.New("the token controller has not filled " + name)
		}
		return nil
	})
	return text
}

// keep puts a token into a Secret of no special type.
func (f *field) keep(t *testing.T, name, text string) {
	t.Helper()
	_, err := f.client.CoreV1().Secrets(home).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"value": text},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *field) webhook(t *testing.T, kubeconfig string, flags ...string) *server {
	t.Helper()
	s := launch(t, append([]string{"--kubeconfig=" + kubeconfig, "--policy-file=" + policyFile(t, tokenDeny), "--log-level=error"}, flags...)...)
	s.waitReady(t)
	return s
}

// accepts asks an API server itself; 403 means that it knows who asks.
func (f *field) accepts(t *testing.T, host, text string) bool {
	t.Helper()
	config := rest.AnonymousClientConfig(f.plane.Config)
	config.Host = host
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, host+"/api/v1/namespaces/default/pods", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+text)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode != http.StatusUnauthorized
}

// verdict asks the webhook about a pod that mounts a Secret.
func (a *asker) verdict(t *testing.T, secret string) string {
	t.Helper()
	r, err := a.ask(t.Context(), reviewBody(t, pod("p", secretVolume(secret, false))))
	if err != nil {
		t.Fatal(err)
	}
	switch found := r.AuditAnnotations["findings"]; {
	case !r.Allowed:
		return "invalid"
	case strings.Contains(found, `"check":"token-valid","action":"Audit","state":"unknown"`):
		return "unknown"
	}
	return "valid"
}

// newRSA writes a key and its public half to files.
func (f *field) newRSA(t *testing.T, name string) (private, public string, key *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private, public = filepath.Join(f.dir, name+".key"), filepath.Join(f.dir, name+".pub")
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, private, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	writeFile(t, public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return private, public, key
}

// mint signs claims; kid may be empty.
func mint(t *testing.T, algorithm jose.SignatureAlgorithm, key any, kid string, claims any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func kidOf(t *testing.T, public crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// request gets a bound token from the API server.
func (f *field) request(t *testing.T, account string, spec authenticationv1.TokenRequestSpec) string {
	t.Helper()
	r, err := f.client.CoreV1().ServiceAccounts(home).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.Token
}

const issuer = "https://kubernetes.default.svc.cluster.local"

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
	held("without-kid", mint(t, jose.RS256, key, "", legacy("without-kid", nil)))
	held("rs512", mint(t, jose.RS512, key, kid, legacy("rs512", nil)))
	good := strings.Split(mint(t, jose.RS256, key, kid, legacy("tampered-payload", nil)), ".")
	held("tampered-payload", good[0]+"."+base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"system:serviceaccount:default:robot","x":1}`))+"."+good[2])
	held("tampered-signature", good[0]+"."+good[1]+"."+good[2][:20]+strings.ToLower(good[2][20:24])+"x"+good[2][25:])
	held("algorithm-none", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))+"."+good[1]+".")
	public, err := os.ReadFile(rsaPublic)
	if err != nil {
		t.Fatal(err)
	}
	held("hmac-with-public-key", mint(t, jose.HS256, public, kid, legacy("hmac-with-public-key", nil)))
	_, _, stranger := f.newRSA(t, "stranger")
	held("foreign-key-known-kid", mint(t, jose.RS256, stranger, kid, legacy("foreign-key-known-kid", nil)))
	held("foreign-key-without-kid", mint(t, jose.RS256, stranger, "", legacy("foreign-key-without-kid", nil)))
	held("foreign-key-own-kid", mint(t, jose.RS256, stranger, kidOf(t, stranger.Public()), legacy("foreign-key-own-kid", nil)))
	held("contradictory", mint(t, jose.RS256, key, kid, legacy("contradictory", map[string]any{"sub": "system:serviceaccount:default:other"})))
	held("other-namespace", mint(t, jose.RS256, key, kid, legacy("other-namespace", map[string]any{"kubernetes.io/serviceaccount/namespace": "kube-system"})))
	held("other-account-uid", mint(t, jose.RS256, key, kid, legacy("other-account-uid", map[string]any{"kubernetes.io/serviceaccount/service-account.uid": "00000000-0000-4000-8000-000000000000"})))

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
	stale := mint(t, jose.RS256, key, kid, legacy("re-issued", map[string]any{"old": true}))
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
	made, err := f.client.CoreV1().Pods(home).Create(t.Context(), pod("bound", func(s *corev1.PodSpec) { s.ServiceAccountName = "robot" }), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	toPod := &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: made.Name, UID: made.UID}
	copied("bound-to-pod", f.request(t, "robot", authenticationv1.TokenRequestSpec{BoundObjectRef: toPod}))
	gone, err := f.client.CoreV1().Pods(home).Create(t.Context(), pod("gone", func(s *corev1.PodSpec) { s.ServiceAccountName = "robot" }), metav1.CreateOptions{})
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
			"iss": iss, "aud": []string{issuer}, "sub": "system:serviceaccount:default:robot", "exp": exp.Unix(), "nbf": nbf.Unix(), "iat": nbf.Unix(),
			"kubernetes.io": map[string]any{"namespace": home, "serviceaccount": map[string]any{"name": "robot", "uid": string(robot.UID)}},
		}
	}
	copied("bound-minted", mint(t, jose.RS256, key, kid, bound(issuer, now.Add(time.Hour), now)))
	copied("expired", mint(t, jose.RS256, key, kid, bound(issuer, now.Add(-time.Hour), now.Add(-2*time.Hour))))
	copied("not-yet-valid", mint(t, jose.RS256, key, kid, bound(issuer, now.Add(2*time.Hour), now.Add(time.Hour))))
	copied("foreign-audience", f.request(t, "robot", authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}}))
	unknown["foreign-audience"] = "good elsewhere"
	copied("other-issuer", mint(t, jose.RS256, key, kid, bound("https://other.example.test", now.Add(time.Hour), now)))
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
		held("good-ec", mint(t, jose.ES256, parsed, kidOf(t, parsed.(crypto.Signer).Public()), legacy("good-ec", nil)))
	} else {
		held("good-ec", mint(t, jose.ES256, ec, kidOf(t, ec.Public()), legacy("good-ec", nil)))
	}
	return tokens, unknown
}

// X2, S2: our verdict and the API server's own answer agree on every token; and
// nothing that the webhook does leaves a mark on a Secret.
func TestVerdictsAgree(t *testing.T) {
	f := newField(t)
	tokens, unknown := f.everyToken(t)
	s := f.webhook(t, f.installed.kubeconfig, "--signing-key-refresh=1s", "--signing-key-settle=2s")
	a := s.asker(t)
	waitUntil(t, func() error { // until what is not published counts as gone
		if v := a.verdict(t, "foreign-key-own-kid"); v != "invalid" {
			return errors.New("the keys have not settled: " + v)
		}
		return nil
	})
	verdicts := map[string]string{}
	for name := range tokens {
		verdicts[name] = a.verdict(t, name)
	}
	secrets, err := f.client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/legacy-token-last-used"})
	if err != nil || len(secrets.Items) > 0 {
		t.Errorf("%d Secrets are marked as used, %v", len(secrets.Items), err)
	}
	for _, name := range slices.Sorted(maps.Keys(tokens)) {
		accepted, ours := f.accepts(t, f.plane.Config.Host, tokens[name]), verdicts[name]
		t.Logf("%-24s API server: %-5t ours: %s", name, accepted, ours)
		want := map[bool]string{true: "valid", false: "invalid"}[accepted]
		if why := unknown[name]; why != "" {
			want = "unknown"
		}
		if ours != want {
			t.Errorf("%s: ours is %s, want %s", name, ours, want)
		}
	}
	// The label does appear when a token is used: the test above could fail.
	waitUntil(t, func() error {
		secrets, err := f.client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/legacy-token-last-used"})
		if err == nil && len(secrets.Items) == 0 {
			err = errors.New("no Secret is marked as used")
		}
		return err
	})
}

// S6, S7: after the signing key has changed the old token is refused once that
// is settled; re-issued as the message says, it is admitted.
func TestSigningKeyRotation(t *testing.T) {
	f := newField(t)
	before := f.tokenSecret(t, "robot-token", "robot")
	s := f.webhook(t, f.installed.kubeconfig, "--signing-key-refresh=1s", "--signing-key-settle=4s")
	a := s.asker(t)
	if v := a.verdict(t, "robot-token"); v != "valid" {
		t.Fatalf("before the rotation: %s", v)
	}
	private, public, _ := f.newRSA(t, "new")
	if err := f.plane.UseSigningKey(private, public); err != nil {
		t.Fatal(err)
	}
	if f.accepts(t, f.plane.Config.Host, before) {
		t.Fatal("the API server takes the old token")
	}
	waitUntil(t, func() error {
		if v := a.verdict(t, "robot-token"); v != "invalid" {
			return errors.New("not settled: " + v)
		}
		return nil
	})
	r, err := a.ask(t.Context(), reviewBody(t, pod("p", secretVolume("robot-token", false))))
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r.Result.Message)
	mustContain(t, r.Result.Message, "its signing key is no longer accepted", "Remove data.token")
	if _, err := f.client.CoreV1().Secrets(home).Patch(t.Context(), "robot-token", types.JSONPatchType, []byte(`[{"op":"remove","path":"/data/token"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	after := f.filled(t, "robot-token", before)
	// Re-issued a moment before the pod, it passes.
	if v := a.verdict(t, "robot-token"); v != "valid" {
		t.Errorf("re-issued: %s", v)
	}
	if !f.accepts(t, f.plane.Config.Host, after) {
		t.Error("the API server refuses the new token")
	}
	if n := s.metric(t, "tokenward_signing_keys"); n != 1 {
		t.Errorf("tokenward_signing_keys: got %v, want 1", n)
	}
}

// balancer sends connections to several addresses in turn.
type balancer struct {
	listener net.Listener
	targets  atomic.Pointer[[]string]
}

func newBalancer(t *testing.T, targets ...string) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: l}
	b.targets.Store(&targets)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for n := 0; ; n++ {
			in, err := l.Accept()
			if err != nil {
				return
			}
			all := *b.targets.Load()
			go b.pipe(in, all[n%len(all)])
		}
	}()
	return b
}

func (b *balancer) pipe(in net.Conn, target string) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(out, in); _ = out.(*net.TCPConn).CloseWrite() })
	both.Go(func() { _, _ = io.Copy(in, out); _ = in.(*net.TCPConn).CloseWrite() })
	both.Wait()
}

// kubeconfigAt is the webhook's kubeconfig for another address and CA.
func (f *field) kubeconfigAt(t *testing.T, address string, ca []byte) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(f.installed.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range config.Clusters {
		*c = clientcmdapi.Cluster{Server: "https://" + address, CertificateAuthorityData: ca}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// While one of two API servers still has the old keys no token that either
// takes is denied.
func TestNoGoodTokenIsDeniedDuringARollOut(t *testing.T) {
	f := newField(t)
	f.tokenSecret(t, "old-key", "robot")
	private, public, key := f.newRSA(t, "new")
	second, err := f.plane.StartAnother(f.plane.Config, map[string][]string{
		"service-account-signing-key-file": {private}, "service-account-key-file": {public},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Stop)
	first := f.address()
	b := newBalancer(t, first)
	s := f.webhook(t, f.kubeconfigAt(t, b.listener.Addr().String(), f.plane.Config.CAData), "--signing-key-refresh=1s", "--signing-key-settle=4s")
	a := s.asker(t)
	robot, err := f.client.CoreV1().ServiceAccounts(home).Get(t.Context(), "robot", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text := mint(t, jose.RS256, key, kidOf(t, key.Public()), map[string]any{
		"iss": issuer, "aud": []string{issuer}, "sub": "system:serviceaccount:default:robot", "exp": time.Now().Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": home, "serviceaccount": map[string]any{"name": "robot", "uid": string(robot.UID)}},
	})
	if !f.accepts(t, "https://"+second.Address, text) || f.accepts(t, f.plane.Config.Host, text) {
		t.Fatal("the two API servers do not differ")
	}
	f.keep(t, "new-key", text)
	// Not denied for as long as it is a roll-out; unknown is no denial.
	b.targets.Store(&[]string{first, second.Address})
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for _, secret := range []string{"old-key", "new-key"} {
			if v := a.verdict(t, secret); v == "invalid" {
				t.Fatalf("%s is denied during the roll-out", secret)
			}
		}
	}
	if v := a.verdict(t, "new-key"); v != "valid" {
		t.Errorf("a token of the new key is %s", v)
	}
	// The roll-out is over.
	b.targets.Store(&[]string{second.Address})
	waitUntil(t, func() error {
		if v := a.verdict(t, "old-key"); v != "invalid" {
			return errors.New("the old key is still taken: " + v)
		}
		return nil
	})
	if v := a.verdict(t, "new-key"); v != "valid" {
		t.Errorf("after the roll-out a token of the new key is %s", v)
	}
}

// token-ca-current goes by the certificate that the API server presents.
func TestCACurrent(t *testing.T) {
	f := newField(t)
	f.tokenSecret(t, "robot-token", "robot")
	f.plane.StopControllers() // or they would write the new CA
	own, err := servingcert.NewSelfSigned([]string{"127.0.0.1", "localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := own.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	crt, key := pemPair(t, cert)
	certFile, keyFile := filepath.Join(f.dir, "other.crt"), filepath.Join(f.dir, "other.key")
	writeFile(t, certFile, crt)
	writeFile(t, keyFile, key)
	config := rest.CopyConfig(f.plane.Config)
	config.CAData = own.CA()
	other, err := f.plane.StartAnother(config, map[string][]string{"tls-cert-file": {certFile}, "tls-private-key-file": {keyFile}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Stop)
	policy := policyFile(t, strings.Replace(tokenDeny, "token-valid", "token-ca-current", 1))
	for _, tt := range []struct {
		address string
		ca      []byte
		want    bool
	}{
		{f.address(), f.plane.Config.CAData, true},
		{other.Address, own.CA(), false},
	} {
		s := launch(t, "--kubeconfig="+f.kubeconfigAt(t, tt.address, tt.ca), "--policy-file="+policy, "--log-level=error",
			"--signing-key-refresh=1s", "--signing-key-settle=2s")
		s.waitReady(t)
		a := s.asker(t)
		// Until the certificate is settled another API server may show another one.
		for end := time.Now().Add(4 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			r, err := a.ask(t.Context(), reviewBody(t, pod("p", secretVolume("robot-token", false))))
			if err != nil {
				t.Fatal(err)
			}
			if !r.Allowed {
				t.Log(r.Result.Message)
				mustContain(t, r.Result.Message, "token-ca-current", "ca.crt that does not verify")
			}
			if r.Allowed != tt.want && (tt.want || time.Now().After(end)) {
				t.Fatalf("API server at %s: allowed %t, want %t: %+v", tt.address, r.Allowed, tt.want, r.Result)
			}
			if !r.Allowed || time.Now().After(end) {
				break
			}
		}
	}
}

// X1: a token that is re-issued a moment before the pod is good, though the
// watches do not know of it yet.
func TestReissuedBeforeTheWatchKnows(t *testing.T) {
	ns := newNamespace(t)
	dead := base64.StdEncoding.EncodeToString([]byte("no token any more"))
	if _, err := client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "t", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
		Type:       corev1.SecretTypeServiceAccountToken, StringData: map[string]string{"token": "no token any more"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := newProxy(t)
	p.watchDelay = 5 * time.Second // from the start: watches that are open stay as they are
	s := launch(t, "--kubeconfig="+p.kubeconfig, "--policy-file="+policyFile(t, tokenDeny), "--log-level=error")
	s.waitReady(t)
	s.register(t, ns)
	body := pod("p", secretVolume("t", false))
	if _, err := try(t, ns, body); err == nil || !strings.Contains(err.Error(), "not a well-formed token") {
		t.Fatalf("a dead token: %v", err)
	}
	for i := range 5 {
		if _, err := client.CoreV1().Secrets(ns).Patch(t.Context(), "t", types.JSONPatchType, []byte(`[{"op":"remove","path":"/data/token"}]`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, func() error {
			s, err := client.CoreV1().Secrets(ns).Get(t.Context(), "t", metav1.GetOptions{})
			if err == nil && len(s.Data["token"]) < 100 {
				err = errors.New("the token controller has not filled the Secret")
			}
			return err
		})
		body.Name = "good-" + string(rune('a'+i))
		if _, err := try(t, ns, body); err != nil {
			t.Errorf("re-issued: %v", err)
		}
		if _, err := client.CoreV1().Secrets(ns).Patch(t.Context(), "t", types.MergePatchType, []byte(`{"data":{"token":"`+dead+`"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
