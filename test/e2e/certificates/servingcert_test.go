package certificates

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/test/e2e/harness"
)

func (d *drill) configuration(t *testing.T) *admissionregistrationv1.ValidatingWebhookConfiguration {
	t.Helper()
	v, err := d.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), d.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestReplicasThatStartAtOnceAgreeOnOneCA(t *testing.T) {
	d := newRelease(t)
	d.Configure(t, nil)
	for range 3 {
		d.addReplica(t)
	}
	for _, s := range d.Replicas {
		s.WaitReady(t)
	}
	d.Trusted(t)
	all := d.authorities(t)
	if len(all) != 1 {
		t.Fatalf("%d authorities", len(all))
	}
	first := d.served(t, d.Replicas[0])
	for _, s := range d.Replicas {
		if !d.served(t, s).Equal(first) {
			t.Error("replicas serve with different certificates")
		}
	}
	if err := first.CheckSignatureFrom(all[0]); err != nil {
		t.Error(err)
	}
	for _, name := range []string{d.Name, d.Name + "." + d.Namespace, d.Name + "." + d.Namespace + ".svc", d.Name + "." + d.Namespace + ".svc.cluster.local", "127.0.0.1"} {
		if err := first.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	s := d.Replicas[0]
	if got := s.Metric(t, "tokenward_serving_certificate_not_after_seconds"); got != float64(first.NotAfter.Unix()) {
		t.Errorf("metric of the certificate: %f", got)
	}
	d.noRightIsMissing(t)
	if got := s.Metric(t, "tokenward_serving_ca_not_after_seconds"); got != float64(all[0].NotAfter.Unix()) {
		t.Errorf("metric of the CA: %f", got)
	}
}

// caBundle alone is changed in a webhook configuration, whatever it was before.
func TestNothingButCABundleIsChanged(t *testing.T) {
	d := newRelease(t, settlesSoon)
	s := d.addReplica(t)
	s.WaitReady(t) // a configuration that is not there keeps nothing up
	d.Configure(t, nil)
	made := d.configuration(t)
	d.Trusted(t)
	for name, bundle := range map[string][]byte{"emptied": nil, "another CA": harness.ForeignCA(t)} {
		patch, err := json.Marshal([]map[string]any{
			{"op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": bundle},
			{"op": "add", "path": "/metadata/labels", "value": map[string]string{"by": "hand"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := env.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Patch(t.Context(), d.Name, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		d.Trusted(t)
		config := d.configuration(t)
		if config.Labels["by"] != "hand" {
			t.Errorf("%s: a label is gone", name)
		}
		for i := range config.Webhooks {
			made.Webhooks[i].ClientConfig.CABundle = config.Webhooks[i].ClientConfig.CABundle
		}
		want, _ := json.Marshal(made.Webhooks)
		if got, _ := json.Marshal(config.Webhooks); !bytes.Equal(got, want) {
			t.Errorf("%s: got %s\nwant %s", name, got, want)
		}
	}
	if n := s.Metric(t, "tokenward_ca_bundle_mended_total"); n < 3 {
		t.Errorf("mended %f times by the metric", n)
	}
	if code, body := s.Get(s.Health, "/readyz"); code != http.StatusOK {
		t.Errorf("%d %s", code, body)
	}
}

// damage is what somebody may do to the Secret.
type damage struct {
	name string
	do   func() error
}

func damages(t *testing.T, d *drill) []damage {
	secrets, name := env.Client.CoreV1().Secrets(d.Namespace), d.Name+"-serving"
	return []damage{
		{"deleted, and made again by an upgrade", func() error {
			if err := secrets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				return err
			}
			d.Replicas[0].WaitLog(t, `make it again with \"helm upgrade\"`)
			d.Upgrade(t, env.Plane, "Secret")
			return nil
		}},
		{"emptied", changeSecret(t, d, func(data map[string][]byte) {
			for key := range data {
				data[key] = nil
			}
		})},
		{"scribbled over", changeSecret(t, d, func(data map[string][]byte) {
			for key := range data {
				data[key] = []byte("scribble")
			}
		})},
		{"without the key of the CA", changeSecret(t, d, func(data map[string][]byte) { delete(data, "ca.key") })},
		{"with a foreign CA", changeSecret(t, d, func(data map[string][]byte) { data["ca.crt"] = harness.ForeignCA(t) })},
		{"deleted and made anew as another type", func() error {
			if err := secrets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				return err
			}
			_, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeTLS, StringData: map[string]string{"tls.crt": "", "tls.key": ""}}, metav1.CreateOptions{})
			return err
		}},
	}
}

// changeSecret returns what changes the data of the Secret.
func changeSecret(t *testing.T, d *drill, change func(data map[string][]byte)) func() error {
	return func() error {
		secret, err := d.Secret(t.Context())
		if err != nil {
			return err
		}
		change(secret.Data)
		_, err = env.Client.CoreV1().Secrets(d.Namespace).Update(t.Context(), secret, metav1.UpdateOptions{})
		return err
	}
}

// Whatever somebody does to the Secret: it is repaired, and what is served stays
// trusted.
func TestADamagedSecretIsRepaired(t *testing.T) {
	d := newRelease(t)
	d.Configure(t, nil)
	s := d.addReplica(t)
	s.WaitReady(t)
	served := d.served(t, s)
	good, err := d.Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, damage := range damages(t, d) {
		t.Run(damage.name, func(t *testing.T) {
			if err := damage.do(); err != nil {
				t.Fatal(err)
			}
			harness.WaitUntil(t, func() error {
				now, err := d.Secret(t.Context())
				if err != nil {
					return err
				}
				for key, value := range good.Data {
					// Another CA that could be one of ours stays, beside it.
					kept := bytes.Equal(now.Data[key], value) || key == "ca.crt" && bytes.Contains(now.Data[key], value)
					if !kept {
						return fmt.Errorf("%s is not what it was", key)
					}
				}
				return nil
			})
			if !d.served(t, s).Equal(served) {
				t.Error("another certificate is served, for nothing")
			}
		})
	}
	d.Trusted(t)
	// Without a replica that remembers, a new CA comes.
	if err := s.Stop(t); err != nil {
		t.Fatal(err)
	}
	damage := changeSecret(t, d, func(data map[string][]byte) { data["ca.key"], data["tls.crt"] = []byte("scribble"), []byte("scribble") })
	if err := damage(); err != nil {
		t.Fatal(err)
	}
	again := d.addReplica(t)
	again.WaitReady(t)
	if d.served(t, again).Equal(served) {
		t.Error("the certificate can't be the old one")
	}
	d.Trusted(t)
	for _, log := range []string{s.Log.String(), again.Log.String()} {
		if strings.Contains(log, "PRIVATE KEY") || strings.Contains(log, "scribble") {
			t.Error("what is in the Secret is in the log")
		}
	}
}

// While the API server is out of reach there is no certificate: the replica
// waits, unready, and nobody gets through a handshake.
func TestWithoutAPIServerThereIsNoCertificateYet(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := silent.Addr().String()
	if err := silent.Close(); err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	harness.WriteFile(t, kubeconfig, []byte(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}],
clusters: [{name: c, cluster: {server: "http://`+address+`"}}]}`))
	s := harness.LaunchReplica(t, kubeconfig, "--pod-namespace=nowhere")
	s.WaitLog(t, "The Secret with the serving certificate can't be read")
	if code, _ := s.Get(s.Health, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d", code)
	}
	if code, _ := s.Get(s.Health, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
	if got := s.Metric(t, "tokenward_serving_certificate_not_after_seconds"); got != 0 {
		t.Errorf("metric: %f", got)
	}
	harness.WaitUntil(t, func() error {
		dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
		conn, err := dialer.DialContext(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(s.Port))
		if err == nil {
			_ = conn.Close()
			t.Fatal("a handshake without a certificate")
		}
		if !strings.Contains(err.Error(), "tls:") {
			return err // it does not listen yet
		}
		return nil
	})
	if err := s.Stop(t); err != nil {
		t.Errorf("exit status: %v", err)
	}
}
