package release

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// The chart gives the webhook the rights that it needs and no others: over a run
// that uses every feature the API server refuses nothing, and each single right,
// verb by verb and name by name, is used.
func TestEveryRightIsUsedAndNoneIsMissing(t *testing.T) {
	// With streaming lists, which not every API server has, "list" is not used.
	t.Setenv("KUBE_FEATURE_WatchListClient", "false")
	for name, only := range map[string]bool{"of all namespaces": false, "of some namespaces": true} {
		t.Run(name, func(t *testing.T) { everyRight(t, only) })
	}
}

func everyRight(t *testing.T, only bool) {
	own, shop, gone := env.NewNamespace(t), env.NewNamespace(t), env.NewNamespace(t)
	release := chart.Release{Name: own, Namespace: own, Values: map[string]any{
		"metrics":           map[string]any{"secure": true},
		"workloadResources": []string{"argoproj.io/v1alpha1/rollouts=spec.template"},
	}}
	if only {
		release.Values["namespaces"] = []string{shop, gone}
	}
	release.Values["audit"] = map[string]any{"events": true}
	r := harness.NewReports(t, env.Plane)
	i := harness.Install(t, env.Plane, release)
	from, err := os.Stat(env.Plane.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	again := useEverything(t, i, shop, gone)
	useAudit(t, i, r, shop)
	wanted, err := i.Rules()
	if err != nil {
		t.Fatal(err)
	}
	// The rights in the namespace that is gone went with it.
	wanted = slices.DeleteFunc(wanted, func(r harness.Right) bool { return r.Namespace == gone })
	harness.WaitUntil(t, func() error {
		again()
		used, refused, err := env.Requests(release.User(), from.Size())
		if err != nil {
			return err
		}
		for _, r := range refused {
			t.Fatalf("refused, so that the chart lacks a right: %s", r)
		}
		var unused []string
		for _, r := range wanted {
			if !slices.ContainsFunc(used, r.Covers) {
				unused = append(unused, r.String())
			}
		}
		if len(unused) > 0 {
			return fmt.Errorf("the chart gives rights that nothing uses:\n%s", strings.Join(unused, "\n"))
		}
		t.Logf("%d rights, %d kinds of requests", len(wanted), len(used))
		return nil
	})
}

// startRelease runs the webhook of the release: the Deployment's flags, and the
// certificate in its Secret.
func startRelease(t *testing.T, i *harness.Installation) *harness.Server {
	t.Helper()
	d := harness.Deploy(t, env.Client, i)
	d.Configure(t, nil)
	s := d.AddReplica(t)
	s.WaitReady(t)
	d.Trusted(t)
	secret, err := d.Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.CA = secret.Data["ca.crt"]
	return s
}

// useEverything asks the webhook about pods that make it look everything up that
// it ever looks up, but for a namespace that its index does not have: gone is
// deleted, and what is returned asks about it.
func useEverything(t *testing.T, i *harness.Installation, namespace, gone string) func() {
	t.Helper()
	// As when somebody has deleted it: then it has to be created.
	if err := env.Client.CoordinationV1().Leases(i.Release.Namespace).Delete(t.Context(), "tokenward-leader", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s := startRelease(t, i)
	env.MustCreatePolicy(t, `
apiVersion: tokenward.dev/v1alpha1
kind: TokenPolicy
metadata: {name: `+i.Release.Name+`}
spec:
  match: {namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [`+namespace+`, `+gone+`]}]}}
  checks: [{name: secret-exists, action: Warn}]
`)
	env.WaitStatus(t, i.Release.Name, harness.Ready(metav1.ConditionTrue))
	// Whoever may not read metrics is asked about all the same.
	if code, body := s.Scrape(t, "Bearer "+env.AccountToken(t, namespace)); code != http.StatusForbidden {
		t.Errorf("/metrics: %d %s", code, body)
	}
	boundTokens(t, namespace)
	a := s.Asker(t)
	ask := func(namespace string, p *corev1.Pod) {
		if _, err := a.Ask(t.Context(), harness.ReviewBodyIn(t, namespace, p)); err != nil {
			t.Fatal(err)
		}
	}
	ask(namespace, everything())
	ask(namespace, harness.Pod("account", func(spec *corev1.PodSpec) { spec.ServiceAccountName = "nobody" }))
	if err := env.Client.CoreV1().Namespaces().Delete(t.Context(), gone, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	return func() { ask(gone, harness.Pod("nowhere")) }
}

// everything is a pod that refers to something of each kind.
func everything() *corev1.Pod {
	return harness.Pod("everything", harness.SecretVolume("gone", false), harness.SecretVolume("held", false), func(spec *corev1.PodSpec) {
		spec.ServiceAccountName = "default"
		mount := func(name string, source corev1.VolumeSource) {
			spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
			spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/mnt/" + name})
		}
		bundle := func(p *corev1.ClusterTrustBundleProjection) corev1.VolumeSource {
			p.Path = "ca.crt"
			return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ClusterTrustBundle: p}}}}
		}
		name, signer := "bundle", "example.com/signer"
		mount("bundle", bundle(&corev1.ClusterTrustBundleProjection{Name: &name}))
		mount("bundles", bundle(&corev1.ClusterTrustBundleProjection{SignerName: &signer, LabelSelector: &metav1.LabelSelector{}}))
		mount("map", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "gone"}}})
		mount("csi", corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
			Driver: "secrets-store.csi.k8s.io", VolumeAttributes: map[string]string{"secretProviderClass": "class"},
		}})
	})
}

// useAudit has the audit write a report, change it, and take it back.
func useAudit(t *testing.T, i *harness.Installation, r *harness.Reports, namespace string) {
	t.Helper()
	no := false
	_, err := env.Client.CoreV1().Pods(namespace).Create(t.Context(), harness.Pod("audited", harness.SecretVolume("to-come", false), func(spec *corev1.PodSpec) {
		spec.AutomountServiceAccountToken = &no
	}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	outcome := func() string {
		for _, report := range r.ByName(t) {
			if report.Namespace == namespace && report.Scope.Name == "audited" {
				return string(report.Results[0].Result)
			}
		}
		return "none"
	}
	for _, step := range []struct {
		change func()
		want   string
	}{
		{func() { env.CreateSecret(t, namespace, "another") }, "warn"}, // pods are not watched
		{func() { setAction(t, i, "Deny") }, "fail"},
		{func() { env.CreateSecret(t, namespace, "to-come") }, "none"},
	} {
		step.change()
		harness.WaitUntil(t, func() error {
			if got := outcome(); got != step.want {
				return fmt.Errorf("the report says %s, want %s", got, step.want)
			}
			return nil
		})
	}
}

// setAction changes the policy of useEverything.
func setAction(t *testing.T, i *harness.Installation, action string) {
	t.Helper()
	policies, err := dynamic.NewForConfig(env.Plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = policies.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.TokenPolicyResource)).Patch(t.Context(), i.Release.Name, types.MergePatchType,
		[]byte(`{"spec": {"checks": [{"name": "secret-exists", "action": "`+action+`"}]}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// boundTokens makes a Secret "held" with tokens that are bound to a pod and to a node.
func boundTokens(t *testing.T, namespace string) {
	t.Helper()
	node, err := env.Client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-of-" + namespace}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = env.Client.CoreV1().Nodes().Delete(context.Background(), node.Name, metav1.DeleteOptions{})
	})
	bound, err := env.Client.CoreV1().Pods(namespace).Create(t.Context(), harness.Pod("bound"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]string{}
	for key, to := range map[string]authenticationv1.BoundObjectReference{
		"pod": {Kind: "Pod", Name: bound.Name, UID: bound.UID}, "node": {Kind: "Node", Name: node.Name, UID: node.UID},
	} {
		to.APIVersion = "v1"
		request, err := env.Client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &to},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		held[key] = request.Status.Token
	}
	_, err = env.Client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "held"}, StringData: held,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}
