package chart

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"tokenward.dev/tokenward/cmd/webhook/app"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/test/cluster"
)

func render(t *testing.T, values map[string]any) Objects {
	t.Helper()
	objects, err := Default().With(values).Render(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// variants are values that reach every part of the chart between them.
func variants() map[string]map[string]any {
	return map[string]map[string]any{
		"the defaults":           nil,
		"cert-manager":           {"certificates": map[string]any{"mode": "certManager"}},
		"a provided certificate": {"certificates": map[string]any{"mode": "provided", "secretName": "mine", "caBundle": "PEM"}},
		"some namespaces":        {"namespaces": []string{"shop", "kube-system"}},
		"everything": {
			"hpa": map[string]any{"enabled": true}, "dryRun": true, "podAnnotations": map[string]string{"a": "b"},
			"nodeSelector": map[string]string{"a": "b"}, "imagePullSecrets": []string{"pull"},
			"tolerations":       []any{map[string]any{"key": "a", "operator": "Exists"}},
			"workloadResources": []string{"argoproj.io/v1alpha1/rollouts=spec.template"},
			"webhook":           map[string]any{"failurePolicy": "Fail", "warnOnlyNamespaces": []string{"calico-system"}},
			"signingKeys":       map[string]any{"partial": true, "issuers": []string{"https://issuer.example.com"}, "additional": "PEM"},
			"clientAuth":        map[string]any{"ca": "PEM", "name": "kube-apiserver"},
			"networkPolicy":     map[string]any{"enabled": true, "webhookFrom": []any{map[string]any{"ipBlock": map[string]any{"cidr": "10.0.0.0/28"}}}},
			"metrics": map[string]any{
				"secure": true, "serviceMonitor": map[string]any{"enabled": true},
				"prometheusRule": map[string]any{"enabled": true}, "dashboard": map[string]any{"enabled": true},
			},
		},
	}
}

func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for name, values := range variants() {
		t.Run(name, func(t *testing.T) {
			deployment, err := Into[appsv1.Deployment](render(t, values), "Deployment")
			if err != nil {
				t.Fatal(err)
			}
			pod := &deployment.Spec.Template
			if result := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec)); !result.Allowed {
				t.Error(result.ForbiddenDetail())
			}
			// The evaluator does not ask for this.
			if c := pod.Spec.Containers[0].SecurityContext; c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem {
				t.Error("the root file system can be written to")
			}
			// It does refuse what is not restricted: the test could fail.
			pod.Spec.Containers[0].SecurityContext = nil
			if policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec)).Allowed {
				t.Error("a container without a security context passes as restricted")
			}
		})
	}
}

func TestServerHasEveryFlag(t *testing.T) {
	for name, values := range variants() {
		t.Run(name, func(t *testing.T) {
			deployment, err := Into[appsv1.Deployment](render(t, values), "Deployment")
			if err != nil {
				t.Fatal(err)
			}
			flags := pflag.NewFlagSet("webhook", pflag.ContinueOnError)
			app.NewOptions().AddFlags(flags)
			if err := flags.Parse(deployment.Spec.Template.Spec.Containers[0].Args); err != nil {
				t.Error(err)
			}
			if flags.NArg() > 0 {
				t.Errorf("not flags: %q", flags.Args())
			}
		})
	}
}

func TestUnknownValuesAreRefused(t *testing.T) {
	for path, values := range map[string]map[string]any{
		"''":         {"replicaCount": 3},
		"'/webhook'": {"webhook": map[string]any{"failPolicy": "Fail"}},
		"'/metrics/serviceMonitor'": {
			"metrics": map[string]any{"serviceMonitor": map[string]any{"enable": true}},
		},
	} {
		t.Run(path, func(t *testing.T) {
			_, err := Default().With(values).Render(t.Context())
			if err == nil || !strings.Contains(err.Error(), "at "+path+": additional properties") {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("a value that is none of those there are", func(t *testing.T) {
		_, err := Default().With(map[string]any{"webhook": map[string]any{"failurePolicy": "ignore"}}).Render(t.Context())
		if err == nil || !strings.Contains(err.Error(), "value must be one of 'Ignore', 'Fail'") {
			t.Errorf("got %v", err)
		}
	})
}

func TestChartBringsTheCRDAlong(t *testing.T) {
	got := render(t, nil).Of("CustomResourceDefinition")
	text, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "crd", "tokenward.dev_tokenpolicies.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := Read(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || len(want) != 1 || !reflect.DeepEqual(got[0].Object["spec"], want[0].Object["spec"]) {
		t.Error("the chart's CRD is not the one in config/crd: run \"make generate\"")
	}
}

func TestConfigCertsIsWhatTheChartRenders(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "certs", "certificates.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := Read(text)
	if err != nil {
		t.Fatal(err)
	}
	got := render(t, map[string]any{"certificates": map[string]any{"mode": "certManager"}}).Of("Issuer", "Certificate")
	specs := func(all Objects) map[string]any {
		out := map[string]any{}
		for _, o := range all {
			out[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()] = o.Object["spec"]
		}
		return out
	}
	if g, w := specs(got), specs(want); len(w) != 4 || !reflect.DeepEqual(g, w) {
		t.Errorf("chart:\n%v\nconfig/certs:\n%v", g, w)
	}
}

// With kustomize, config/certs adds the certificates, and tells cert-manager's
// cainjector of both webhook configurations.
func TestConfigCertsIsAComponentForKustomize(t *testing.T) {
	kustomize, err := tool("kustomize")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	component, err := filepath.Rel(dir, filepath.Join(cluster.Root(), "config", "certs"))
	if err != nil {
		t.Fatal(err)
	}
	var webhooks []byte
	for _, o := range render(t, nil).Of("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration") {
		text, err := json.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		webhooks = append(webhooks, "---\n"+string(text)+"\n"...)
	}
	for name, text := range map[string]string{
		"webhooks.yaml":      string(webhooks),
		"kustomization.yaml": "resources: [webhooks.yaml]\ncomponents: [" + component + "]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), kustomize, "build", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	built, err := Read(out)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(built.Of("Issuer", "Certificate")); n != 4 {
		t.Errorf("%d Issuers and Certificates, want 4", n)
	}
	configurations := built.Of("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
	if len(configurations) != 2 {
		t.Errorf("%d webhook configurations", len(configurations))
	}
	for _, o := range configurations {
		if got := o.GetAnnotations()["cert-manager.io/inject-ca-from"]; got != "tokenward-system/tokenward-serving" || o.GetName() != "tokenward" {
			t.Errorf("%s %s: inject-ca-from %q", o.GetKind(), o.GetName(), got)
		}
	}
}

// Alerts and dashboards ask for series that there are.
func TestEverySeriesExists(t *testing.T) {
	descriptions := make(chan *prometheus.Desc, 1000)
	metrics.New().Registry.Describe(descriptions)
	close(descriptions)
	there := map[string]bool{}
	fullName := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range descriptions {
		name := fullName.FindStringSubmatch(d.String())[1]
		there[name], there[name+"_bucket"] = true, true
	}
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		text, err := os.ReadFile(filepath.Join(Dir(), "files", file))
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`tokenward_[a-z_]+`).FindAllString(string(text), -1)
		if len(names) < 8 {
			t.Errorf("%s: %d series", file, len(names))
		}
		for _, name := range names {
			if !there[name] {
				t.Errorf("%s: there is no series %s", file, name)
			}
		}
	}
}

// Whoever is woken by an alert looks for its name.
func TestEveryAlertIsDocumented(t *testing.T) {
	alerts, err := os.ReadFile(filepath.Join(Dir(), "files", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(cluster.Root(), "docs", "monitoring.md"))
	if err != nil {
		t.Fatal(err)
	}
	there, documented := map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^- alert: (\w+)$`).FindAllSubmatch(alerts, -1) {
		there[string(m[1])] = true
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(Tokenward\\w+)` \\|").FindAllSubmatch(page, -1) {
		documented[string(m[1])] = true
	}
	if len(there) == 0 || !reflect.DeepEqual(there, documented) {
		t.Errorf("alerts:\n%v\ndocs/monitoring.md:\n%v", there, documented)
	}
}

func TestDashboardIsJSON(t *testing.T) {
	objects := render(t, map[string]any{"metrics": map[string]any{"dashboard": map[string]any{"enabled": true}}})
	found := false
	for _, u := range objects.Of("ConfigMap") {
		if text, ok, _ := unstructured.NestedString(u.Object, "data", "tokenward.json"); ok {
			if found = true; !json.Valid([]byte(text)) {
				t.Error("not JSON")
			}
		}
	}
	if !found {
		t.Error("there is no dashboard")
	}
}

// Policies are for cluster administrators: whatever the values, no role that the
// chart aggregates lets anybody write them.
func TestNobodyMayWritePoliciesByAggregation(t *testing.T) {
	for name, values := range variants() {
		t.Run(name, func(t *testing.T) {
			for _, u := range render(t, values).Of("ClusterRole") {
				role := &rbacv1.ClusterRole{}
				if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, role); err != nil {
					t.Fatal(err)
				}
				for label := range role.Labels {
					if !strings.HasPrefix(label, "rbac.authorization.k8s.io/aggregate-to-") {
						continue
					}
					if label != "rbac.authorization.k8s.io/aggregate-to-view" {
						t.Errorf("%s: label %s", role.Name, label)
					}
					for _, rule := range role.Rules {
						if !reflect.DeepEqual(rule.Verbs, []string{"get", "list", "watch"}) {
							t.Errorf("%s: %v", role.Name, rule.Verbs)
						}
					}
				}
			}
		})
	}
}
