package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"tokenward.dev/tokenward/test/chart"
)

// Deployed is a release of the chart with what runs: its flags, its webhook
// configurations, and its replicas, which are processes of the test.
type Deployed struct {
	*Installation
	Client       kubernetes.Interface
	Namespace    string // of the release
	PodNamespace string // the namespace that it is asked about
	Name         string // of the webhook configurations, and the Service
	Flags        []string
	Replicas     []*Server
}

// Deploy reads the flags of a release from its Deployment. There are no webhook
// configurations and no replicas yet.
func Deploy(t *testing.T, client kubernetes.Interface, i *Installation) *Deployed {
	t.Helper()
	d := &Deployed{Installation: i, Client: client, Namespace: i.Release.Namespace, PodNamespace: i.Release.Namespace, Name: i.Release.Fullname()}
	deployment, err := chart.Into[appsv1.Deployment](i.Objects, "Deployment")
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range deployment.Spec.Template.Spec.Containers[0].Args {
		d.Flags = append(d.Flags, strings.ReplaceAll(arg, "$(POD_NAMESPACE)", d.Namespace))
	}
	return d
}

// Configure makes the release's webhook configurations, which have no caBundle.
// They are asked about the namespace of the pods alone. reach says how the API
// server reaches a path; the release's own way, nil, is by the Service's name.
func (d *Deployed) Configure(t *testing.T, reach func(path string) admissionregistrationv1.WebhookClientConfig) {
	t.Helper()
	only := metav1.LabelSelectorRequirement{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{d.PodNamespace}}
	change := func(selector, objects **metav1.LabelSelector, c *admissionregistrationv1.WebhookClientConfig) {
		if *selector == nil { // policies have no namespace, and other tests have policies
			*objects = &metav1.LabelSelector{MatchLabels: map[string]string{"no": "such"}}
		} else {
			(*selector).MatchExpressions = append((*selector).MatchExpressions, only)
		}
		if reach != nil {
			*c = reach(*c.Service.Path)
		}
	}
	v, err1 := d.Validating()
	m, err2 := d.Mutating()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for i := range v.Webhooks {
		change(&v.Webhooks[i].NamespaceSelector, &v.Webhooks[i].ObjectSelector, &v.Webhooks[i].ClientConfig)
	}
	for i := range m.Webhooks {
		change(&m.Webhooks[i].NamespaceSelector, &m.Webhooks[i].ObjectSelector, &m.Webhooks[i].ClientConfig)
	}
	api := d.Client.AdmissionregistrationV1()
	_, err1 = api.ValidatingWebhookConfigurations().Create(t.Context(), v, metav1.CreateOptions{})
	_, err2 = api.MutatingWebhookConfigurations().Create(t.Context(), m, metav1.CreateOptions{})
	t.Cleanup(func() {
		_ = api.ValidatingWebhookConfigurations().Delete(context.Background(), d.Name, metav1.DeleteOptions{})
		_ = api.MutatingWebhookConfigurations().Delete(context.Background(), d.Name, metav1.DeleteOptions{})
	})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
}

// AddReplica starts one more replica.
func (d *Deployed) AddReplica(t *testing.T) *Server {
	t.Helper()
	s := LaunchReplica(t, d.Kubeconfig, d.Flags...)
	d.Replicas = append(d.Replicas, s)
	return s
}

// Bundles returns caBundle of all webhooks.
func (d *Deployed) Bundles(ctx context.Context) ([][]byte, error) {
	api := d.Client.AdmissionregistrationV1()
	v, err := api.ValidatingWebhookConfigurations().Get(ctx, d.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	m, err := api.MutatingWebhookConfigurations().Get(ctx, d.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, w := range v.Webhooks {
		all = append(all, w.ClientConfig.CABundle)
	}
	for _, w := range m.Webhooks {
		all = append(all, w.ClientConfig.CABundle)
	}
	return all, nil
}

// Mended reports whether all webhooks trust what the Secret says.
func (d *Deployed) Mended() error {
	secret, err := d.Secret(context.Background())
	if err != nil {
		return err
	}
	bundles, err := d.Bundles(context.Background())
	if err != nil {
		return err
	}
	for _, b := range bundles {
		if len(b) == 0 || !bytes.Equal(b, secret.Data["ca.crt"]) {
			return fmt.Errorf("caBundle is not the Secret's ca.crt, but %d bytes", len(b))
		}
	}
	return nil
}

// Secret returns the Secret that the certificate is in.
func (d *Deployed) Secret(ctx context.Context) (*corev1.Secret, error) {
	return d.Client.CoreV1().Secrets(d.Namespace).Get(ctx, d.Name+"-serving", metav1.GetOptions{})
}

// Trusted waits until every webhook has what the Secret says.
func (d *Deployed) Trusted(t *testing.T) {
	t.Helper()
	WaitUntil(t, d.Mended)
}
