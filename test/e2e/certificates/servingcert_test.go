package e2e

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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// shared is a release of the chart in the control plane that all tests share.
// Its webhooks are asked about a namespace without pods.
func shared(t *testing.T, flags ...string) *drill {
	t.Helper()
	return (&drillGround{plane: plane, client: client}).release(t, flags...)
}

// trusted waits until every webhook has what the Secret says.
func (d *drill) trusted(t *testing.T) {
	t.Helper()
	d.eventually(t, patience, d.mended)
}

func (d *drill) configuration(t *testing.T) *admissionregistrationv1.ValidatingWebhookConfiguration {
	t.Helper()
	v, err := d.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), d.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestReplicasThatStartAtOnceInAnEmptyNamespaceAgreeOnOneCA(t *testing.T) {
	d := shared(t)
	if err := client.CoreV1().Secrets(d.ns).Delete(t.Context(), d.name+"-serving", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	d.configure(t, nil)
	for range 3 {
		d.addReplica(t)
	}
	for _, s := range d.replicas {
		s.waitReady(t)
	}
	d.trusted(t)
	all := d.authorities(t)
	if len(all) != 1 {
		t.Fatalf("%d authorities", len(all))
	}
	created := 0
	first := d.served(t, d.replicas[0])
	for _, s := range d.replicas {
		if !d.served(t, s).Equal(first) {
			t.Error("replicas serve with different certificates")
		}
		created += strings.Count(s.log.String(), `"created":true`)
	}
	if err := first.CheckSignatureFrom(all[0]); err != nil {
		t.Error(err)
	}
	for _, name := range []string{d.name, d.name + "." + d.ns, d.name + "." + d.ns + ".svc", d.name + "." + d.ns + ".svc.cluster.local", "127.0.0.1"} {
		if err := first.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if created != 1 {
		t.Errorf("the Secret was created %d times", created)
	}
	s := d.replicas[0]
	if got := s.metric(t, "tokenward_serving_certificate_not_after_seconds"); got != float64(first.NotAfter.Unix()) {
		t.Errorf("metric of the certificate: %f", got)
	}
	d.noRightIsMissing(t)
	if got := s.metric(t, "tokenward_serving_ca_not_after_seconds"); got != float64(all[0].NotAfter.Unix()) {
		t.Errorf("metric of the CA: %f", got)
	}
}

// caBundle alone is changed in a webhook configuration, whatever it was before.
func TestNothingButCABundleIsChanged(t *testing.T) {
	d := shared(t)
	s := d.addReplica(t)
	s.waitReady(t) // a configuration that is not there keeps nothing up
	d.configure(t, nil)
	made := d.configuration(t)
	d.trusted(t)
	for name, bundle := range map[string][]byte{"emptied": nil, "another CA": foreignCA(t)} {
		patch, err := json.Marshal([]map[string]any{
			{"op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": bundle},
			{"op": "add", "path": "/metadata/labels", "value": map[string]string{"by": "hand"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Patch(t.Context(), d.name, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		d.trusted(t)
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
	if n := s.metric(t, "tokenward_ca_bundle_mended_total"); n < 3 {
		t.Errorf("mended %f times by the metric", n)
	}
	if code, body := s.get(s.health, "/readyz"); code != http.StatusOK {
		t.Errorf("%d %s", code, body)
	}
}

// Whatever somebody does to the Secret: it is repaired, and what is served stays
// trusted.
func TestADamagedSecretIsRepaired(t *testing.T) {
	d := shared(t)
	d.configure(t, nil)
	s := d.addReplica(t)
	s.waitReady(t)
	served := d.served(t, s)
	secrets := client.CoreV1().Secrets(d.ns)
	good, err := d.secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	change := func(change func(data map[string][]byte)) func() error {
		return func() error {
			secret, err := d.secret(t.Context())
			if err != nil {
				return err
			}
			change(secret.Data)
			_, err = secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
			return err
		}
	}
	for _, damage := range []struct {
		name string
		do   func() error
	}{
		{"deleted", func() error { return secrets.Delete(t.Context(), good.Name, metav1.DeleteOptions{}) }},
		{"emptied", change(func(data map[string][]byte) {
			for key := range data {
				data[key] = nil
			}
		})},
		{"scribbled over", change(func(data map[string][]byte) {
			for key := range data {
				data[key] = []byte("scribble")
			}
		})},
		{"without the key of the CA", change(func(data map[string][]byte) { delete(data, "ca.key") })},
		{"with a foreign CA", change(func(data map[string][]byte) { data["ca.crt"] = foreignCA(t) })},
		{"deleted and made anew as another type", func() error {
			if err := secrets.Delete(t.Context(), good.Name, metav1.DeleteOptions{}); err != nil {
				return err
			}
			_, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: good.Name}}, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				return nil // the replica was faster
			}
			return err
		}},
	} {
		t.Run(damage.name, func(t *testing.T) {
			if err := damage.do(); err != nil {
				t.Fatal(err)
			}
			waitUntil(t, func() error {
				now, err := d.secret(t.Context())
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
	d.trusted(t)
	// Without a replica that remembers, a new CA comes.
	if err := s.stop(t); err != nil {
		t.Fatal(err)
	}
	if err := change(func(data map[string][]byte) { data["ca.key"], data["tls.crt"] = []byte("scribble"), []byte("scribble") })(); err != nil {
		t.Fatal(err)
	}
	again := d.addReplica(t)
	again.waitReady(t)
	if d.served(t, again).Equal(served) {
		t.Error("the certificate can't be the old one")
	}
	d.trusted(t)
	for _, log := range []string{s.log.String(), again.log.String()} {
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
	writeFile(t, kubeconfig, []byte(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}],
clusters: [{name: c, cluster: {server: "http://`+address+`"}}]}`))
	s := replica(t, kubeconfig, "--pod-namespace=nowhere")
	waitLog(t, s, "The Secret with the serving certificate can't be read")
	if code, _ := s.get(s.health, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d", code)
	}
	if code, _ := s.get(s.health, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
	if got := s.metric(t, "tokenward_serving_certificate_not_after_seconds"); got != 0 {
		t.Errorf("metric: %f", got)
	}
	waitUntil(t, func() error {
		dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
		conn, err := dialer.DialContext(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(s.port))
		if err == nil {
			_ = conn.Close()
			t.Fatal("a handshake without a certificate")
		}
		if !strings.Contains(err.Error(), "tls:") {
			return err // it does not listen yet
		}
		return nil
	})
	if err := s.stop(t); err != nil {
		t.Errorf("exit status: %v", err)
	}
}
