package tokens

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// field is a control plane of its own, for tests that change its keys.
type field struct {
	installed *harness.Installation // the rights of the webhook
	plane     *cluster.Cluster
	client    kubernetes.Interface
	dir       string
}

func newField(t *testing.T) *field {
	t.Helper()
	own, c := harness.OwnPlane(t)
	f := &field{plane: own, client: c, dir: t.TempDir(), installed: harness.Install(t, own, chart.Default())}
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
	harness.WaitUntil(t, func() error {
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

func (f *field) webhook(t *testing.T, kubeconfig string, flags ...string) *harness.Server {
	t.Helper()
	s := harness.Launch(t, append([]string{"--kubeconfig=" + kubeconfig, "--policy-file=" + harness.PolicyFile(t, harness.TokenDeny), "--log-level=error"}, flags...)...)
	s.WaitReady(t)
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

// askVerdict asks the webhook about a pod that mounts a Secret.
func askVerdict(t *testing.T, a *harness.Asker, secret string) string {
	t.Helper()
	verdict, _, err := verdictOn(t, a, secret)
	if err != nil {
		t.Fatal(err)
	}
	return verdict
}

// verdictOn asks the webhook about a pod that mounts a Secret, and returns what it
// says of the token, and to the user.
func verdictOn(t *testing.T, a *harness.Asker, secret string) (verdict, message string, err error) {
	t.Helper()
	r, err := a.Ask(t.Context(), harness.ReviewBody(t, harness.Pod("p", harness.SecretVolume(secret, false))))
	if err != nil {
		return "", "", err
	}
	switch found := r.AuditAnnotations["findings"]; {
	case !r.Allowed:
		return "invalid", r.Result.Message, nil
	case strings.Contains(found, `"check":"token-valid","action":"Audit","state":"unknown"`):
		return "unknown", "", nil
	}
	return "valid", "", nil
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
	harness.WriteFile(t, private, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	harness.WriteFile(t, public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return private, public, key
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
