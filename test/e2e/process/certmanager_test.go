package process

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// certificateSpec is what config/certs asks cert-manager for.
type certificateSpec struct {
	SecretName string
	DNSNames   []string `json:"dnsNames"`
	Usages     []string
	Duration   metav1.Duration
	PrivateKey struct {
		Algorithm string
		Size      int
	}
}

// certificateOf reads the Certificate that the chart and config/certs have.
func certificateOf(t *testing.T) certificateSpec {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "certs", "certificates.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := chart.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.GetName() != "tokenward-serving" {
			continue
		}
		text, err := json.Marshal(o.Object["spec"])
		if err != nil {
			t.Fatal(err)
		}
		var spec certificateSpec
		if err := json.Unmarshal(text, &spec); err != nil {
			t.Fatal(err)
		}
		return spec
	}
	t.Fatal("config/certs has no Certificate tokenward-serving")
	return certificateSpec{}
}

type issued struct{ ca, crt, key []byte }

// chartCertificate issues a certificate as cert-manager would.
func chartCertificate(t *testing.T, spec certificateSpec) issued {
	t.Helper()
	if spec.PrivateKey.Algorithm != "ECDSA" || spec.PrivateKey.Size != 256 {
		t.Fatalf("want an ECDSA key of 256 bits, not %+v", spec.PrivateKey)
	}
	now := time.Now()
	caKey, caCert := newCertificate(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tokenward-ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(spec.Duration.Duration),
	}, nil, nil)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: spec.DNSNames, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(spec.Duration.Duration),
	}
	for _, u := range spec.Usages {
		switch u {
		case "server auth":
			template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		case "digital signature":
			template.KeyUsage |= x509.KeyUsageDigitalSignature
		default:
			t.Fatalf("usage %q", u)
		}
	}
	key, cert := newCertificate(t, template, caCert, caKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return issued{ca: harness.PEMCertificate(caCert.Raw), crt: harness.PEMCertificate(cert.Raw), key: harness.PEMKey(der)}
}

func newCertificate(t *testing.T, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// A certificate issued as config/certs asks serves the API server's calls, under
// the Service's name: the API server looks the Service up, and finds by it the
// address of this process.
func TestCertificateOfCertManagerServesUnderTheServicesName(t *testing.T) {
	ns := env.NewNamespace(t)
	certificate := chartCertificate(t, certificateOf(t))
	s := env.StartWebhook(t, "--policy-file="+harness.PolicyFile(t, harness.SecretExistsPolicy("Deny", "")))
	harness.WriteFile(t, filepath.Join(s.CertDir, "tls.key"), certificate.key)
	harness.WriteFile(t, filepath.Join(s.CertDir, "tls.crt"), certificate.crt)

	release := env.Standard.Release
	_, err := env.Client.CoreV1().Services(release.Namespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: release.Fullname()},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = env.Client.CoreV1().Services(release.Namespace).Delete(context.Background(), release.Fullname(), metav1.DeleteOptions{})
	})
	config, err := env.Standard.Validating()
	if err != nil {
		t.Fatal(err)
	}
	config.GenerateName, config.Name = "tokenward-", ""
	config.Webhooks = slices.DeleteFunc(config.Webhooks, func(w admissionregistrationv1.ValidatingWebhook) bool { return w.Name != "validate.pods.tokenward.dev" })
	w, port, fail := &config.Webhooks[0], int32(s.Port), admissionregistrationv1.Fail
	w.ClientConfig.Service.Port, w.ClientConfig.CABundle, w.FailurePolicy = &port, certificate.ca, &fail
	w.NamespaceSelector.MatchExpressions = append(w.NamespaceSelector.MatchExpressions, metav1.LabelSelectorRequirement{
		Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{ns},
	})
	api := env.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	made, err := api.Create(t.Context(), config, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Delete(context.Background(), made.Name, metav1.DeleteOptions{}) })
	// The process takes up the new certificate within seconds.
	harness.WaitUntil(t, func() error {
		_, err := env.CreatePod(t, ns, harness.Pod("bad", harness.SecretVolume("gone", false)))
		if err == nil || !strings.Contains(err.Error(), `"gone"`) {
			return fmt.Errorf("not refused by the webhook: %w", err)
		}
		return nil
	})
	if _, err := env.CreatePod(t, ns, harness.Pod("good")); err != nil {
		t.Error(err)
	}
}
