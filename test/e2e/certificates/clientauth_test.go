package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// apiServerName is what the certificates of these tests are for.
const apiServerName = "kube-apiserver-webhooks"

// signer signs certificates.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// sign makes a key pair; by itself if there is no signer.
func (s *signer) sign(t *testing.T, template *x509.Certificate) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if s == nil {
		s = &signer{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, &key.PublicKey, s.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{cert, key}
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	var none *signer
	return none.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "e2e"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
}

func (s *signer) pair() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{s.cert.Raw}, PrivateKey: s.key}
}

// write puts certificate and key into a directory under a name.
func (s *signer) write(t *testing.T, dir, name string) {
	t.Helper()
	pair := s.pair()
	crt, key := harness.PEMPair(t, &pair)
	harness.WriteFile(t, filepath.Join(dir, name+".key"), key)
	harness.WriteFile(t, filepath.Join(dir, name+".crt"), crt)
}

func (s *signer) client(t *testing.T, name string) *signer {
	t.Helper()
	return s.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// admissionFiles writes config/apiserver, as users have it, for a client
// certificate, and returns the file for --admission-control-config-file.
func admissionFiles(t *testing.T, cert *signer) string {
	t.Helper()
	dir := t.TempDir()
	cert.write(t, dir, "apiserver")
	for _, name := range []string{"admission.yaml", "webhooks.kubeconfig"} {
		text, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "apiserver", name))
		if err != nil {
			t.Fatal(err)
		}
		harness.WriteFile(t, filepath.Join(dir, name), []byte(strings.ReplaceAll(string(text), "/etc/kubernetes/tokenward", dir)))
	}
	return filepath.Join(dir, "admission.yaml")
}

// webhookService is the Service of the chart.
type webhookService struct{ namespace, name, clusterIP string }

func newWebhookService(t *testing.T) webhookService {
	t.Helper()
	s := webhookService{namespace: "tokenward-system", name: "tokenward"}
	_, err := env.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	made, err := env.Client.CoreV1().Services(s.namespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: s.name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.clusterIP = made.Spec.ClusterIP
	t.Cleanup(func() {
		_ = env.Client.CoreV1().Services(s.namespace).Delete(context.Background(), s.name, metav1.DeleteOptions{})
	})
	return s
}

// pointAt sends the Service's calls to a process.
func (s webhookService) pointAt(to *harness.Server) {
	network.route(s.clusterIP, func(in net.Conn) {
		relay(in, to.Port, func(...net.Conn) func() { return func() {} })
	})
}

// register installs the first webhook of the chart for a namespace, with its
// Service, and without mercy for a webhook that does not answer.
func (s webhookService) register(t *testing.T, namespace string, ca []byte) {
	t.Helper()
	config := env.Webhooks(t)
	fail := admissionregistrationv1.Fail
	w := config.Webhooks[0]
	w.FailurePolicy, w.ClientConfig.CABundle = &fail, ca
	w.NamespaceSelector.MatchExpressions = []metav1.LabelSelectorRequirement{
		{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{namespace}},
	}
	config.Name, config.GenerateName, config.Webhooks = "", "tokenward-", []admissionregistrationv1.ValidatingWebhook{w}
	api := env.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	made, err := api.Create(t.Context(), config, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Delete(context.Background(), made.Name, metav1.DeleteOptions{}) })
}

// another starts one more API server, and returns a client of it.
func (s webhookService) another(t *testing.T, flags map[string][]string) kubernetes.Interface {
	t.Helper()
	a, err := env.Plane.StartAnother(env.Plane.Config, flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Stop)
	config := rest.CopyConfig(env.Plane.Config)
	config.Host = "https://" + a.Address
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// startFor runs a webhook for the API servers that a CA knows, with the
// certificate of its Service.
func (s webhookService) startFor(t *testing.T, serving *signer, clientCA []byte, flags ...string) *harness.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clients.crt")
	harness.WriteFile(t, file, clientCA)
	certs := t.TempDir()
	host := s.name + "." + s.namespace + ".svc"
	serving.sign(t, &x509.Certificate{DNSNames: []string{host}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}).write(t, certs, "tls")
	w := env.StartWebhook(t, append([]string{"--cert-dir=" + certs, "--client-ca=" + file}, flags...)...)
	s.pointAt(w)
	return w
}

// dryRun creates a pod without making it.
func dryRun(ctx context.Context, c kubernetes.Interface, namespace string, p *corev1.Pod) error {
	_, err := c.CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

func TestOnlyAnAPIServerWithTheRightCertificateIsAnswered(t *testing.T) {
	clients, serving := newSigner(t), newSigner(t)
	clientCA, servingCA := harness.PEMCertificate(clients.cert.Raw), harness.PEMCertificate(serving.cert.Raw)
	service := newWebhookService(t)
	policy := "--policy-file=" + harness.PolicyFile(t, harness.SecretExistsPolicy("Deny", ""))
	ns := env.NewNamespace(t)
	service.register(t, ns, servingCA)
	configured := service.another(t, map[string][]string{"admission-control-config-file": {admissionFiles(t, clients.client(t, apiServerName))}})
	unconfigured := service.another(t, map[string][]string{})
	// refused waits for what an API server says that the webhook does not answer:
	// at first it may not know the Service or the webhook.
	refused := func(c kubernetes.Interface, w *harness.Server, reason string) {
		t.Helper()
		err := cluster.Eventually(t.Context(), harness.Patience, func(ctx context.Context) error {
			switch err := dryRun(ctx, c, ns, harness.Pod("fine")); {
			case err == nil:
				return errors.New("the webhook answered")
			case !strings.Contains(err.Error(), "failed calling webhook"):
				return err
			}
			if w.Metric(t, "tokenward_clients_refused_total", `reason="`+reason+`"`) == 0 {
				return fmt.Errorf("nobody was refused as %s", reason)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	w := service.startFor(t, serving, clientCA, "--client-name="+apiServerName, policy)
	err := cluster.Eventually(t.Context(), harness.Patience, func(ctx context.Context) error {
		if err := dryRun(ctx, configured, ns, harness.Pod("bad", harness.SecretVolume("gone", false))); err == nil || !strings.Contains(err.Error(), `Secret "gone"`) {
			return fmt.Errorf("want a denial for the Secret, got %w", err)
		}
		return dryRun(ctx, configured, ns, harness.Pod("fine"))
	})
	if err != nil {
		t.Fatalf("the API server that presents a certificate: %v", err)
	}
	if n := w.Metric(t, "tokenward_clients_refused_total"); n != 0 {
		t.Errorf("%v connections were refused, the readiness check's perhaps", n)
	}
	if strings.Contains(w.Log.String(), "handshake") {
		t.Error("a handshake that failed is logged where all were good")
	}
	refused(unconfigured, w, "missing")
	harness.MustContain(t, w.Log.String(), "it presented no certificate")

	// A connection that is open lives on: it ends with the process.
	replace := func(clientCA []byte, flags ...string) {
		t.Helper()
		old := w
		w = service.startFor(t, serving, clientCA, flags...)
		if err := old.Stop(t); err != nil {
			t.Fatal(err)
		}
	}
	replace(clientCA, "--client-name=somebody-else", policy)
	refused(configured, w, "name")
	harness.MustContain(t, w.Log.String(), apiServerName)

	replace(harness.PEMCertificate(newSigner(t).cert.Raw), policy)
	refused(configured, w, "untrusted")
}

func TestOtherClientsAreRefusedInTheHandshake(t *testing.T) {
	clients := newSigner(t)
	file := filepath.Join(t.TempDir(), "clients.crt")
	harness.WriteFile(t, file, harness.PEMCertificate(clients.cert.Raw))
	s := env.StartWebhook(t, "--client-ca="+file, "--client-name="+apiServerName)
	good, next := clients.client(t, apiServerName), newSigner(t)
	call := func(cert *signer) error {
		a := s.Asker(t)
		if cert != nil {
			a.TLS.Certificates = []tls.Certificate{cert.pair()}
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL, strings.NewReader(string(harness.ReviewBody(t, harness.Pod("p")))))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := a.Client.Do(request)
		if err != nil {
			return err
		}
		a.Client.CloseIdleConnections()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", response.Status)
		}
		return response.Body.Close()
	}
	if err := call(good); err != nil {
		t.Errorf("the right certificate: %v", err)
	}
	for name, cert := range map[string]*signer{
		"no certificate": nil, "another name": clients.client(t, "kubelet"), "another authority": next.client(t, apiServerName),
	} {
		if err := call(cert); err == nil {
			t.Errorf("%s: answered", name)
		}
	}
	harness.WriteFile(t, file, harness.PEMCertificate(next.cert.Raw))
	s.WaitLog(t, "Client CA reloaded")
	if err := call(good); err == nil {
		t.Error("a certificate of the authority that was taken away is answered")
	}
	if err := call(next.client(t, apiServerName)); err != nil {
		t.Errorf("a certificate of the new authority: %v", err)
	}
	if code, body := s.Get(s.Health, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code, _ := s.Get(s.Metrics, "/metrics"); code != http.StatusOK {
		t.Errorf("/metrics, which is on a port of its own: %d", code)
	}
}
