package verdicts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/test/e2e/harness"
)

var deployments = appsv1.SchemeGroupVersion.WithResource("deployments")

// apply does what "kubectl apply --server-side" does, and returns the warnings.
func apply(t *testing.T, resource schema.GroupVersionResource, namespace, text string) ([]string, error) {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	config, seen := env.WarnedConfig()
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Resource(resource).Namespace(namespace).Apply(t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "kubectl"})
	return seen.Lines, err
}

func deployment(secret string, replicas int) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: main, image: "example.test/web:1", volumeMounts: [{name: v, mountPath: /v}]}]
      volumes: [{name: v, secret: {secretName: %s}}]
`, replicas, secret)
}

// Who applies a Deployment hears of the missing Secret; its ReplicaSet is
// not judged once more, its pods are.
func TestWorkloadWarnsWhoAppliesIt(t *testing.T) {
	ns := env.NewNamespace(t)
	s := env.StartWebhook(t)
	env.Register(t, s, ns)
	warned, err := apply(t, deployments, ns, deployment("db", 1))
	if err != nil || len(warned) != 1 {
		t.Fatalf("got %q, %v; want one warning", warned, err)
	}
	t.Log(warned[0])
	harness.MustContain(t, warned[0], `secret-exists: Secret "db" (spec.template.spec.volumes[0].secret.secretName) does not exist`)
	if warned, err := apply(t, deployments, ns, deployment("db", 1)); err != nil || len(warned) != 0 {
		t.Errorf("applied unchanged: got %q, %v; want nothing", warned, err)
	}
	if warned, err := apply(t, deployments, ns, deployment("db", 2)); err != nil || len(warned) != 0 {
		t.Errorf("scaled: got %q, %v; want nothing", warned, err)
	}
	if warned, err := apply(t, deployments, ns, deployment("other", 2)); err != nil || len(warned) != 1 {
		t.Errorf("changed: got %q, %v; want one warning", warned, err)
	}
	harness.WaitUntil(t, func() error {
		if s.Metric(t, "tokenward_reviews_total", `path="/validate/pods"`, `operation="CREATE"`, `outcome="warn"`) < 1 {
			return errors.New("no pod of it was judged")
		}
		return nil
	})
	if n := s.Metric(t, "tokenward_reviews_total", `path="/validate/workloads"`, `kind="ReplicaSet"`); n != 0 {
		t.Errorf("the API server asked about %v ReplicaSets of a Deployment", n)
	}
}

// With templateAction Deny the Deployment itself is refused. Scaling it, or
// changing what is not its template, never is.
func TestTemplateActionDeny(t *testing.T) {
	ns := env.NewNamespace(t)
	s := env.StartWebhook(t)
	env.Register(t, s, ns)
	if _, err := apply(t, deployments, ns, deployment("db", 0)); err != nil {
		t.Fatal(err)
	}
	env.MustCreatePolicy(t, "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: template-deny}\nspec:\n"+
		"  match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "+ns+"}}}\n"+
		"  checks: [{name: secret-exists, action: Deny}]\n  templateAction: Deny\n")
	env.WaitStatus(t, "template-deny", harness.Ready(metav1.ConditionTrue))
	_, err := apply(t, deployments, ns, strings.ReplaceAll(deployment("db", 0), "web", "new"))
	if err == nil {
		t.Fatal("the Deployment is let in")
	}
	harness.MustContain(t, err.Error(), "denied the request", "spec.template.spec.volumes[0].secret.secretName", "TokenPolicy template-deny")
	if _, err := apply(t, deployments, ns, deployment("other", 0)); err == nil {
		t.Error("a template with another missing Secret is let in")
	}
	api := env.Client.AppsV1().Deployments(ns)
	for name, patch := range map[string]string{
		"replicas": `{"spec":{"replicas":3}}`, "a label": `{"metadata":{"labels":{"a":"b"}}}`, "paused": `{"spec":{"paused":true}}`,
	} {
		if _, err := api.Patch(t.Context(), "web", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// As kubectl scale does.
	if _, err := api.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{}, "scale"); err != nil {
		t.Errorf("scale: %v", err)
	}
	if err := api.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Errorf("delete: %v", err)
	}
}

// foreign is a kind of somebody else's with a pod template.
type foreign struct {
	group, version, kind, plural, path, text string
}

func (f *foreign) install(t *testing.T) schema.GroupVersionResource {
	t.Helper()
	anything := true
	open := apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &anything}
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: f.plural + "." + f.group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: f.group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: f.plural, Singular: strings.ToLower(f.kind), Kind: f.kind, ListKind: f.kind + "List"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: f.version, Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": open, "status": open},
				}},
			}},
		},
	}
	if _, err := envtest.InstallCRDs(env.Plane.Config, envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{crd}}); err != nil {
		t.Fatal(err)
	}
	return schema.GroupVersionResource{Group: f.group, Version: f.version, Resource: f.plural}
}

// registerForeign adds a rule for resources of others, as the docs tell.
func registerForeign(t *testing.T, s *harness.Server, namespace string, resources ...schema.GroupVersionResource) {
	t.Helper()
	config := env.Webhooks(t)
	config.GenerateName, config.Name = "tokenward-foreign-", ""
	for _, w := range config.Webhooks {
		if w.Name != "validate.workloads.tokenward.dev" {
			continue
		}
		rule := w.Rules[0]
		w.Rules = nil
		for _, r := range resources {
			rule.APIGroups, rule.APIVersions, rule.Resources = []string{r.Group}, []string{r.Version}, []string{r.Resource}
			w.Rules = append(w.Rules, rule)
		}
		at, fail := "https://127.0.0.1:"+strconv.Itoa(s.Port)+"/validate/workloads", admissionregistrationv1.Fail
		w.ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: &at, CABundle: s.CA}
		w.FailurePolicy = &fail
		w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}
		config.Webhooks = []admissionregistrationv1.ValidatingWebhook{w}
	}
	api := env.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	made, err := api.Create(t.Context(), config, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Delete(context.Background(), made.Name, metav1.DeleteOptions{}) })
}

func foreignKinds() []foreign {
	return []foreign{
		{"argoproj.io", "v1alpha1", "Rollout", "rollouts", "spec.template", `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: canary}
spec:
  replicas: 5
  strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}]}}
  selector: {matchLabels: {app: canary}}
  template:
    metadata: {labels: {app: canary}}
    spec:
      containers: [{name: main, image: "example.test/main:1", envFrom: [{secretRef: {name: SECRET}}]}]
`},
		{"serving.knative.dev", "v1", "Service", "services", "spec.template", `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    metadata: {annotations: {autoscaling.knative.dev/target: "10"}}
    spec:
      containerConcurrency: 20
      timeoutSeconds: 300
      containers: [{image: "example.test/hello:1", envFrom: [{secretRef: {name: SECRET}}]}]
  traffic: [{latestRevision: true, percent: 100}]
`},
	}
}

// Kinds of others are judged where their template is.
func TestWorkloadResource(t *testing.T) {
	kinds := foreignKinds()
	var flags []string
	var resources []schema.GroupVersionResource
	for i := range kinds {
		r := kinds[i].install(t)
		resources = append(resources, r)
		flags = append(flags, "--workload-resource="+r.Group+"/"+r.Version+"/"+r.Resource+"="+kinds[i].path)
	}
	ns := env.NewNamespace(t)
	s := env.StartWebhook(t, flags...)
	registerForeign(t, s, ns, resources...)
	for i, kind := range kinds {
		t.Run(kind.kind, func(t *testing.T) {
			n := 0
			harness.WaitUntil(t, func() error { // until the API server knows the webhook
				n++
				missing := fmt.Sprintf("gone-%d", n)
				warned, err := apply(t, resources[i], ns, strings.Replace(kind.text, "SECRET", missing, 1))
				if err != nil {
					return err
				}
				if len(warned) != 1 {
					return fmt.Errorf("warnings: %q", warned)
				}
				t.Log(warned[0])
				harness.MustContain(t, warned[0], `Secret "`+missing+`" (spec.template.spec.containers[0].envFrom[0].secretRef.name)`)
				return nil
			})
			env.CreateSecret(t, ns, "there-"+kind.plural, "k")
			if warned, err := apply(t, resources[i], ns, strings.Replace(kind.text, "SECRET", "there-"+kind.plural, 1)); err != nil || len(warned) != 0 {
				t.Errorf("with a Secret that exists: %q, %v", warned, err)
			}
		})
	}
	t.Run("a template that can't be read", func(t *testing.T) { // is somebody else's business, and said so
		odd := `{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "odd"}, "spec": {"template": {"spec": {"containers": "none"}}}}`
		if warned, err := apply(t, resources[0], ns, odd); err != nil || len(warned) != 1 || !strings.Contains(warned[0], "was not judged") {
			t.Errorf("a template that can't be read: %q, %v", warned, err)
		}
	})
	t.Run("a ReplicaSet that is said to be a Rollout's", func(t *testing.T) { // anybody can say that
		env.Register(t, s, ns)
		set := strings.ReplaceAll(deployment("gone", 0), "Deployment", "ReplicaSet")
		var owned map[string]any
		if err := yaml.Unmarshal([]byte(set), &owned); err != nil {
			t.Fatal(err)
		}
		owned["metadata"].(map[string]any)["ownerReferences"] = []any{map[string]any{
			"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "canary", "uid": "1", "controller": true,
		}}
		text, err := json.Marshal(owned)
		if err != nil {
			t.Fatal(err)
		}
		if warned, err := apply(t, appsv1.SchemeGroupVersion.WithResource("replicasets"), ns, string(text)); err != nil || len(warned) != 1 {
			t.Errorf("a ReplicaSet of a Rollout: %q, %v", warned, err)
		}
	})
}
