package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// atOnce is a place for replicas that make their own certificate, over the
// control plane that all tests share.
func atOnce(t *testing.T) *drill {
	t.Helper()
	d := &drill{drillGround: &drillGround{plane: plane, client: client}, ns: newNamespace(t)}
	d.name = d.ns
	d.flags = []string{"--pod-namespace=" + d.ns, "--webhook-configuration=" + d.name}
	return d
}

// whole is the webhook configuration that users install, under another name, and
// asked about nothing.
func (d *drill) whole(t *testing.T) *admissionregistrationv1.ValidatingWebhookConfiguration {
	t.Helper()
	config := loadConfiguration(t)
	config.Name = d.name
	for i := range config.Webhooks {
		w := &config.Webhooks[i]
		w.ClientConfig.Service.Namespace = d.ns
		w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"no": "such"}}
		w.ObjectSelector = w.NamespaceSelector // what is not namespaced
	}
	made, err := d.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), config, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(context.Background(), d.name, metav1.DeleteOptions{})
	})
	return made
}

// trusted waits until every webhook of the configuration has what the Secret says.
func (d *drill) trusted(t *testing.T) *admissionregistrationv1.ValidatingWebhookConfiguration {
	t.Helper()
	var config *admissionregistrationv1.ValidatingWebhookConfiguration
	waitUntil(t, func() error {
		secret, err := d.secret(t.Context())
		if err != nil {
			return err
		}
		config, err = d.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), d.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, w := range config.Webhooks {
			if len(w.ClientConfig.CABundle) == 0 || !bytes.Equal(w.ClientConfig.CABundle, secret.Data["ca.crt"]) {
				return errors.New("caBundle of " + w.Name + " is not the Secret's ca.crt")
			}
		}
		return nil
	})
	return config
}

func TestReplicasThatStartAtOnceInAnEmptyNamespaceAgreeOnOneCA(t *testing.T) {
	d := atOnce(t)
	d.whole(t)
	for range 3 {
		d.replicas = append(d.replicas, replica(t, plane.Kubeconfig, d.flags...))
	}
	for _, s := range d.replicas {
		s.waitReady(t)
	}
	config := d.trusted(t)
	all := certificates(t, config.Webhooks[0].ClientConfig.CABundle)
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
	for _, name := range []string{"tokenward", "tokenward." + d.ns, "tokenward." + d.ns + ".svc", "tokenward." + d.ns + ".svc.cluster.local", "127.0.0.1"} {
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
	if got := s.metric(t, "tokenward_serving_ca_not_after_seconds"); got != float64(all[0].NotAfter.Unix()) {
		t.Errorf("metric of the CA: %f", got)
	}
}

// caBundle alone is changed in a webhook configuration, whatever it was before.
func TestNothingButCABundleIsChanged(t *testing.T) {
	d := atOnce(t)
	s := replica(t, plane.Kubeconfig, d.flags...)
	s.waitReady(t) // a configuration that is not there keeps nothing up
	made := d.whole(t)
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
		config := d.trusted(t)
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
	d := atOnce(t)
	d.whole(t)
	s := replica(t, plane.Kubeconfig, d.flags...)
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
					if !bytes.Equal(now.Data[key], value) && !(key == "ca.crt" && bytes.Contains(now.Data[key], value)) {
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
	again := replica(t, plane.Kubeconfig, d.flags...)
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

// The rights that docs/certificates.md names are enough, limited to names.
func TestRightsForTheCertificateAreEnough(t *testing.T) {
	d := atOnce(t)
	kubeconfig := d.account(t, "webhook")
	own := []string{"tokenward-serving-cert"}
	configurations := []string{d.name}
	d.grant(t, "webhook",
		[]rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}},
			{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: own, Verbs: []string{"get", "watch", "update"}},
		},
		[]rbacv1.PolicyRule{
			{
				APIGroups: []string{"admissionregistration.k8s.io"}, ResourceNames: configurations, Verbs: []string{"get", "watch", "patch"},
				Resources: []string{"validatingwebhookconfigurations", "mutatingwebhookconfigurations"},
			},
		})
	d.whole(t)
	// What else the webhook may read is not what this is about.
	s := replica(t, kubeconfig, append(d.flags, shortLived, "--policy-file="+policyFile(t, strict))...)
	d.trusted(t)
	waitLog(t, s, "Serving with another certificate")
	first := d.served(t, s)
	d.eventually(t, 2*patience, func() error {
		if d.served(t, s).Equal(first) {
			return errors.New("the certificate is not renewed")
		}
		return nil
	})
	patch := []byte(`[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]`)
	if _, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Patch(t.Context(), d.name, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	d.trusted(t)
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"certificate"`) && strings.Contains(line, "forbidden") {
			t.Errorf("a right is missing: %s", line)
		}
	}
}

// account makes a service account and a kubeconfig for it.
func (d *drill) account(t *testing.T, name string) (kubeconfig string) {
	t.Helper()
	_, err := d.client.CoreV1().ServiceAccounts(d.ns).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token, err := d.client.CoreV1().ServiceAccounts(d.ns).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: d.plane.Config.Host, CertificateAuthorityData: d.plane.Config.CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// grant gives an account rights in its namespace, and rights in the cluster.
func (d *drill) grant(t *testing.T, name string, inNamespace, inCluster []rbacv1.PolicyRule) {
	t.Helper()
	rbac := d.client.RbacV1()
	subject := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: d.ns, Name: name}}
	meta := metav1.ObjectMeta{Name: d.ns}
	_, err1 := rbac.Roles(d.ns).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: inNamespace}, metav1.CreateOptions{})
	_, err2 := rbac.RoleBindings(d.ns).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, Subjects: subject, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
	}, metav1.CreateOptions{})
	_, err3 := rbac.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: inCluster}, metav1.CreateOptions{})
	_, err4 := rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, Subjects: subject, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
	}, metav1.CreateOptions{})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = rbac.ClusterRoles().Delete(context.Background(), meta.Name, metav1.DeleteOptions{})
		_ = rbac.ClusterRoleBindings().Delete(context.Background(), meta.Name, metav1.DeleteOptions{})
	})
}
