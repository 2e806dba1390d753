package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// installForeignCRDs installs those of cert-manager and of the Prometheus
// operator, from their own modules.
func installForeignCRDs(t *testing.T) {
	t.Helper()
	var paths []string
	for module, files := range map[string][]string{
		"github.com/cert-manager/cert-manager": {"deploy/crds/cert-manager.io_certificates.yaml", "deploy/crds/cert-manager.io_issuers.yaml"},
		"github.com/prometheus-operator/prometheus-operator": {
			"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
			"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		},
	} {
		download := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
		download.Dir = filepath.Join(cluster.Root(), "test", "crds")
		out, err := download.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var found struct{ Dir string }
		if err := json.Unmarshal(out, &found); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			paths = append(paths, filepath.Join(found.Dir, f))
		}
	}
	crds, err := envtest.InstallCRDs(env.Plane.Config, envtest.CRDInstallOptions{Paths: paths, ErrorIfPathMissing: true})
	if err != nil || len(crds) != 4 {
		t.Fatalf("%d of 4 CRDs, %v", len(crds), err)
	}
	t.Cleanup(func() {
		if err := envtest.UninstallCRDs(env.Plane.Config, envtest.CRDInstallOptions{CRDs: crds}); err != nil {
			t.Error(err)
		}
	})
}

// The API server takes every object that the chart renders, knows all of its
// fields, and warns about none; in a namespace where pods must be restricted.
func TestEveryObjectOfTheChartIsAccepted(t *testing.T) {
	installForeignCRDs(t)
	ns, err := env.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "e2e-", Labels: labelsOfTheNamespace(t),
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = env.Client.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
	})
	env.WaitForAccount(t, ns.Name)
	metrics := map[string]any{
		"secure": true, "serviceMonitor": map[string]any{"enabled": true},
		"prometheusRule": map[string]any{"enabled": true}, "dashboard": map[string]any{"enabled": true},
	}
	for mode, more := range map[string]map[string]any{
		"selfSigned": {"namespaces": []string{ns.Name}},
		"certManager": {"hpa": map[string]any{"enabled": true}, "networkPolicy": map[string]any{
			"enabled": true, "webhookFrom": []any{map[string]any{"ipBlock": map[string]any{"cidr": "10.0.0.0/28"}}},
		}},
		"provided": {"clientAuth": map[string]any{"ca": "PEM"}, "webhook": map[string]any{"failurePolicy": "Fail"}},
	} {
		t.Run(mode, func(t *testing.T) {
			values := map[string]any{"metrics": metrics, "certificates": map[string]any{"mode": mode}}
			maps.Copy(values, more)
			if mode == "provided" {
				values["certificates"] = map[string]any{"mode": mode, "secretName": "mine", "caBundle": string(harness.ForeignCA(t))}
			}
			objects, err := chart.Release{Name: "dry", Namespace: ns.Name, Values: values}.Render(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			mustBeAccepted(t, objects)
			mustTakePods(t, ns.Name, objects)
		})
	}
	t.Run("config/certs", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "certs", "certificates.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		objects, err := chart.Read(text)
		if err != nil || len(objects) != 4 {
			t.Fatalf("%d objects, %v", len(objects), err)
		}
		home := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: objects[0].GetNamespace()}}
		if _, err := env.Client.CoreV1().Namespaces().Create(t.Context(), home, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		mustBeAccepted(t, objects)
	})
	t.Run("an unknown field is not accepted", func(t *testing.T) { // the test could fail
		text := `{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: c, namespace: default},
			spec: {secretName: s, issuerRef: {name: i}, dnsName: a}}`
		objects, err := chart.Read([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := applyDry(t, objects[0]); err == nil {
			t.Error("it is accepted")
		}
	})
}

// labelsOfTheNamespace are those that config/namespace.yaml gives it.
func labelsOfTheNamespace(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "namespace.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := chart.Read(text)
	if err != nil || len(objects) != 1 || objects[0].GetName() != "tokenward-system" || objects[0].GetLabels()["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Fatalf("%v, %v", objects, err)
	}
	return objects[0].GetLabels()
}

// mustTakePods wants the API server to take the pods that the Deployment makes.
func mustTakePods(t *testing.T, namespace string, objects chart.Objects) {
	t.Helper()
	for _, u := range objects.Of("Deployment") {
		template, _, err := unstructured.NestedMap(u.Object, "spec", "template")
		if err != nil {
			t.Fatal(err)
		}
		template["apiVersion"], template["kind"] = "v1", "Pod"
		p := &unstructured.Unstructured{Object: template}
		p.SetName("pod")
		p.SetNamespace(namespace)
		unstructured.RemoveNestedField(p.Object, "spec", "serviceAccountName") // a dry run makes no account
		mustBeAccepted(t, chart.Objects{p})
	}
}

func mustBeAccepted(t *testing.T, objects chart.Objects) {
	t.Helper()
	for _, o := range objects {
		warned, err := applyDry(t, o)
		if err != nil {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
		if len(warned) > 0 {
			t.Errorf("%s %s: warnings: %q", o.GetKind(), o.GetName(), warned)
		}
	}
}

func applyDry(t *testing.T, o *unstructured.Unstructured) ([]string, error) {
	t.Helper()
	config, seen := env.WarnedConfig()
	c, err := ctrl.New(config, ctrl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Apply(t.Context(), ctrl.ApplyConfigurationFromUnstructured(o.DeepCopy()), ctrl.FieldOwner("dry"), ctrl.ForceOwnership, ctrl.DryRunAll)
	return seen.Lines, err
}

// Install, upgrade and uninstall, by both ways in which Helm writes objects: what
// the webhook has written survives an upgrade, and nothing is left that the docs
// don't tell of.
func TestHelmInstallsUpgradesAndUninstalls(t *testing.T) {
	t.Cleanup(func() { // what a failure leaves would refuse the pods of other tests
		api := env.Client.AdmissionregistrationV1()
		_ = api.ValidatingWebhookConfigurations().Delete(context.Background(), "tokenward", metav1.DeleteOptions{})
		_ = api.MutatingWebhookConfigurations().Delete(context.Background(), "tokenward", metav1.DeleteOptions{})
	})
	for _, tt := range []struct {
		name, serverSide string
		install          []string
	}{
		// The control plane comes with the CRD.
		{"by server-side apply", "true", []string{"--create-namespace", "--take-ownership"}},
		// The CRD that was kept is taken back without asking.
		{"by three-way merge", "false", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			helm := helmFor(t, env.Plane, "tokenward-system")
			helm(append([]string{"install", "tokenward", chart.Dir(), "--server-side=" + tt.serverSide}, tt.install...)...)
			asTheWebhookWrites(t, env.Client)
			helm("upgrade", "tokenward", chart.Dir(), "--set=webhook.failurePolicy=Fail,replicas=3", "--server-side="+tt.serverSide)
			validating, err := env.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), "tokenward", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range validating.Webhooks {
				if string(w.ClientConfig.CABundle) != "CA" {
					t.Errorf("the upgrade changed caBundle of %s to %q", w.Name, w.ClientConfig.CABundle)
				}
			}
			if policy := *validating.Webhooks[0].FailurePolicy; policy != admissionregistrationv1.Fail {
				t.Errorf("the upgrade did not change failurePolicy: %s", policy)
			}
			mutating, err := env.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "tokenward", metav1.GetOptions{})
			if err != nil || string(mutating.Webhooks[0].ClientConfig.CABundle) != "CA" {
				t.Errorf("the upgrade changed caBundle of the mutating webhook, %v", err)
			}
			secret, err := env.Client.CoreV1().Secrets("tokenward-system").Get(t.Context(), "tokenward-serving", metav1.GetOptions{})
			if err != nil || string(secret.Data["tls.crt"]) != "certificate" {
				t.Errorf("the upgrade changed the serving Secret: %v, %v", secret.Data, err)
			}
			theSecretComesBack(t, helm, "--server-side="+tt.serverSide)
			allIsMadeAnew(t, helm, tt.serverSide)
			helm("uninstall", "tokenward", "--wait=legacy")
			if left := leftIn(t, env.Plane, env.Client); len(left) > 0 {
				t.Errorf("left after uninstall: %q", left)
			}
		})
	}
}

// theSecretComesBack deletes the serving Secret, which the webhook may not make: an
// upgrade does, and a rollback. In the end it is gone again, which must not keep the
// release from being uninstalled and installed again.
func theSecretComesBack(t *testing.T, helm func(args ...string), flag string) {
	t.Helper()
	secrets := env.Client.CoreV1().Secrets("tokenward-system")
	remove := func() {
		t.Helper()
		if err := secrets.Delete(t.Context(), "tokenward-serving", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, cure := range [][]string{{"upgrade", "tokenward", chart.Dir(), "--reset-then-reuse-values", flag}, {"rollback", "tokenward", flag}} {
		remove()
		helm(cure...)
		secret, err := secrets.Get(t.Context(), "tokenward-serving", metav1.GetOptions{})
		if err != nil || len(secret.Data) > 0 || secret.Labels["app.kubernetes.io/managed-by"] != "Helm" {
			t.Errorf("after helm %s: %v, %v", cure[0], secret, err)
		}
	}
	// Somebody makes one by hand, which belongs to no release.
	remove()
	if _, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "tokenward-serving"}, StringData: map[string]string{"tls.crt": "certificate"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	helm("upgrade", "tokenward", chart.Dir(), "--reset-then-reuse-values", flag)
	if secret, err := secrets.Get(t.Context(), "tokenward-serving", metav1.GetOptions{}); err != nil || string(secret.Data["tls.crt"]) != "certificate" {
		t.Errorf("after an upgrade over one that was made by hand: %v, %v", secret, err)
	}
	remove()
}

// allIsMadeAnew does what docs/certificates.md says for a CA whose key has leaked; the
// serving Secret is gone already.
func allIsMadeAnew(t *testing.T, helm func(args ...string), serverSide string) {
	t.Helper()
	deployments, api := env.Client.AppsV1().Deployments("tokenward-system"), env.Client.AdmissionregistrationV1()
	scale, err := deployments.GetScale(t.Context(), "tokenward", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scale.Spec.Replicas = 0
	_, err = deployments.UpdateScale(t.Context(), "tokenward", scale, metav1.UpdateOptions{FieldManager: "kubectl"})
	err = errors.Join(err, api.ValidatingWebhookConfigurations().Delete(t.Context(), "tokenward", metav1.DeleteOptions{}),
		api.MutatingWebhookConfigurations().Delete(t.Context(), "tokenward", metav1.DeleteOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	flags := []string{"--server-side=" + serverSide}
	if serverSide == "true" {
		flags = append(flags, "--force-conflicts")
	}
	helm(append([]string{"upgrade", "tokenward", chart.Dir(), "--reset-then-reuse-values"}, flags...)...)
	deployment, err1 := deployments.Get(t.Context(), "tokenward", metav1.GetOptions{})
	validating, err2 := api.ValidatingWebhookConfigurations().Get(t.Context(), "tokenward", metav1.GetOptions{})
	secret, err3 := env.Client.CoreV1().Secrets("tokenward-system").Get(t.Context(), "tokenward-serving", metav1.GetOptions{})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if *deployment.Spec.Replicas == 0 || len(validating.Webhooks[0].ClientConfig.CABundle) > 0 || len(secret.Data) > 0 {
		t.Errorf("%d replicas, %d webhooks, data %v", *deployment.Spec.Replicas, len(validating.Webhooks), secret.Data)
	}
	if err := env.Client.CoreV1().Secrets("tokenward-system").Delete(t.Context(), "tokenward-serving", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// helmFor runs Helm against a control plane.
func helmFor(t *testing.T, where *cluster.Cluster, namespace string) func(args ...string) {
	t.Helper()
	path, err := chart.Helm()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	return func(args ...string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), path, append(args, "--namespace="+namespace, "--kubeconfig="+where.Kubeconfig)...)
		command.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// asTheWebhookWrites writes what the webhook does: caBundle and the Secret.
func asTheWebhookWrites(t *testing.T, c kubernetes.Interface) {
	t.Helper()
	options := metav1.PatchOptions{FieldManager: "tokenward"}
	patch := func(webhooks int) []byte {
		var operations []string
		for i := range webhooks {
			operations = append(operations, fmt.Sprintf(`{"op": "add", "path": "/webhooks/%d/clientConfig/caBundle", "value": "Q0E="}`, i))
		}
		return []byte("[" + strings.Join(operations, ",") + "]")
	}
	api := c.AdmissionregistrationV1()
	if _, err := api.ValidatingWebhookConfigurations().Patch(t.Context(), "tokenward", types.JSONPatchType, patch(8), options); err != nil {
		t.Fatal(err)
	}
	if _, err := api.MutatingWebhookConfigurations().Patch(t.Context(), "tokenward", types.JSONPatchType, patch(1), options); err != nil {
		t.Fatal(err)
	}
	secret, err := c.CoreV1().Secrets("tokenward-system").Get(t.Context(), "tokenward-serving", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret.Data = map[string][]byte{"tls.crt": []byte("certificate")}
	if _, err := c.CoreV1().Secrets("tokenward-system").Update(t.Context(), secret, metav1.UpdateOptions{FieldManager: "tokenward"}); err != nil {
		t.Fatal(err)
	}
}

// leftIn lists what a release has left.
func leftIn(t *testing.T, where *cluster.Cluster, c kubernetes.Interface) []string {
	t.Helper()
	objects, err := chart.Default().Render(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	objectClient, err := ctrl.New(where.Config, ctrl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, o := range objects {
		there := o.DeepCopy()
		if o.GetKind() == "CustomResourceDefinition" {
			if err := objectClient.Get(t.Context(), ctrl.ObjectKeyFromObject(o), there); err != nil || there.GetDeletionTimestamp() != nil {
				t.Errorf("the CRD was not kept: %v", err)
			}
			continue
		}
		err := cluster.Eventually(t.Context(), harness.Patience, func(ctx context.Context) error {
			err := objectClient.Get(ctx, ctrl.ObjectKeyFromObject(o), there)
			if err == nil && there.GetDeletionTimestamp() != nil {
				return fmt.Errorf("still being deleted")
			}
			return nil
		})
		if err != nil || !apierrors.IsNotFound(objectClient.Get(t.Context(), ctrl.ObjectKeyFromObject(o), there)) {
			left = append(left, o.GetKind()+" "+o.GetName())
		}
	}
	validating, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mutating, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(validating.Items) + len(mutating.Items); n > 0 {
		left = append(left, strconv.Itoa(n)+" webhook configurations")
	}
	return left
}
