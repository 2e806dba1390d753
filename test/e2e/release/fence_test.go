package release

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// thief has the webhook's account, and roles that allow everything: what is refused
// is refused by the ValidatingAdmissionPolicy of the chart alone.
type thief struct {
	client dynamic.Interface
	// own is the namespace of the release, shop another one, name that of the release's objects.
	own, shop, name string
}

// write is one request of the account.
type write struct {
	name string
	do   func(context.Context) error
}

func newThief(t *testing.T) *thief {
	t.Helper()
	own, shop := env.NewNamespace(t), env.NewNamespace(t)
	harness.NewReports(t, env.Plane)
	i := harness.Install(t, env.Plane, chart.Release{Name: own, Namespace: own, Values: map[string]any{"audit": map[string]any{"events": true}, "hold": map[string]any{"enabled": true}}})
	d := harness.Deploy(t, env.Client, i)
	d.PodNamespace = shop + "-not" // nobody answers
	d.Configure(t, nil)
	config := rest.CopyConfig(env.Plane.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: i.Release.User(), Groups: append(i.Release.Groups(), "system:masters")}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	f := &thief{client: client, own: own, shop: shop, name: i.Release.Fullname()}
	f.prepare(t)
	harness.WaitUntil(t, func() error {
		if err := f.create("v1", "secrets", own, `{kind: Secret, metadata: {name: probe}}`)(t.Context()); !fenced(err) {
			return fmt.Errorf("the policy is not in force: %w", err)
		}
		return nil
	})
	return f
}

// fenced reports whether an error is the refusal of the policy.
func fenced(err error) bool {
	return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy") && strings.Contains(err.Error(), "the account of Tokenward may")
}

// prepare makes what others own.
func (f *thief) prepare(t *testing.T) {
	t.Helper()
	admin, err := dynamic.NewForConfig(env.Plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	they := &thief{client: admin, own: f.own, shop: f.shop, name: f.name}
	gated := `{kind: Pod, metadata: {name: %s, labels: {app: a, tokenward.dev/held: "true"}, annotations: {a: b}, finalizers: [example.com/f]}, spec: {` +
		`containers: [{name: c, image: i}], schedulingGates: [{name: tokenward.dev/hold}, {name: example.com/gate}]}}`
	for _, w := range []write{
		{"a gated pod", they.create("v1", "pods", f.shop, fmt.Sprintf(gated, "held"))},
		{"another", they.create("v1", "pods", f.shop, fmt.Sprintf(gated, "held-2"))},
		{"a Secret", they.create("v1", "secrets", f.shop, `{kind: Secret, metadata: {name: db}}`)},
		{"a Secret beside ours", they.create("v1", "secrets", f.own, `{kind: Secret, metadata: {name: other}}`)},
		{"a namesake", they.create("v1", "secrets", f.shop, `{kind: Secret, metadata: {name: `+f.name+`-serving}}`)},
		{"a ConfigMap beside ours", they.create("v1", "configmaps", f.own, `{kind: ConfigMap, metadata: {name: other}}`)},
		{"a Lease beside ours", they.create("coordination.k8s.io/v1", "leases", f.own, `{kind: Lease, metadata: {name: other}}`)},
		{"a Report", they.create("openreports.io/v1alpha1", "reports", f.shop, `{kind: Report, metadata: {name: of-others, labels: {app.kubernetes.io/managed-by: kyverno}}, source: kyverno}`)},
		{"a namesake of ours", they.create("openreports.io/v1alpha1", "reports", f.shop, `{kind: Report, metadata: {name: tokenward-like}, source: kyverno}`)},
		{"webhooks of others", they.create("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "", `{kind: ValidatingWebhookConfiguration, metadata: {name: other-`+f.own+`}}`)},
		{"a policy", they.create("tokenward.dev/v1alpha1", "tokenpolicies", "", `{kind: TokenPolicy, metadata: {name: fence-`+f.own+`}, spec: {match: {podSelector: {matchLabels: {no: such}}}, checks: [{name: secret-exists, action: Audit}]}}`)},
	} {
		if err := w.do(t.Context()); err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
	}
	t.Cleanup(func() {
		ctx := context.Background()
		for _, pod := range []string{"held", "held-2"} {
			_ = they.patch("v1", "pods", f.shop, pod, `{"metadata":{"finalizers":null}}`)(ctx)
		}
		_ = they.remove("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "", "other-"+f.own)(ctx)
		_ = they.remove("tokenward.dev/v1alpha1", "tokenpolicies", "", "fence-"+f.own)(ctx)
	})
}

func (f *thief) resource(version, resource, namespace string) dynamic.ResourceInterface {
	gv, err := schema.ParseGroupVersion(version)
	if err != nil {
		panic(err)
	}
	return f.client.Resource(gv.WithResource(resource)).Namespace(namespace)
}

func (f *thief) create(version, resource, namespace, text string, subresources ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			return err
		}
		if u.GetAPIVersion() == "" {
			u.SetAPIVersion(version)
		}
		_, err := f.resource(version, resource, namespace).Create(ctx, u, metav1.CreateOptions{}, subresources...)
		return err
	}
}

// patch is a merge patch, or a JSON patch if the text is a list.
func (f *thief) patch(version, resource, namespace, name, text string, subresources ...string) func(context.Context) error {
	kind := types.MergePatchType
	if strings.HasPrefix(text, "[") {
		kind = types.JSONPatchType
	}
	return func(ctx context.Context) error {
		_, err := f.resource(version, resource, namespace).Patch(ctx, name, kind, []byte(text), metav1.PatchOptions{}, subresources...)
		return err
	}
}

func (f *thief) remove(version, resource, namespace, name string) func(context.Context) error {
	return func(ctx context.Context) error {
		return f.resource(version, resource, namespace).Delete(ctx, name, metav1.DeleteOptions{})
	}
}

func (f *thief) pod(text string, subresources ...string) func(context.Context) error {
	return f.patch("v1", "pods", f.shop, "held", text, subresources...)
}

func (f *thief) webhooks(text string) func(context.Context) error {
	return f.patch("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "", f.name, text)
}

// Whoever has the token of the webhook's account can write what the webhook writes, and no more, whatever
// roles allow.
func TestTheAccountOfTheWebhookMayWriteNothingButItsOwn(t *testing.T) {
	f := newThief(t)
	for _, w := range f.illegitimate() {
		t.Run("refused: "+w.name, func(t *testing.T) {
			if err := w.do(t.Context()); !fenced(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	for _, w := range f.legitimate() {
		t.Run("allowed: "+w.name, func(t *testing.T) {
			if err := w.do(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("others are not fenced in", func(t *testing.T) {
		secrets := env.Client.CoreV1().Secrets(f.own)
		if _, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "by-hand"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Error(err)
		}
	})
}
