package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/test/chart"
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
	own, shop, gone := newNamespace(t), newNamespace(t), newNamespace(t)
	release := chart.Release{Name: own, Namespace: own, Values: map[string]any{
		"metrics":           map[string]any{"secure": true},
		"workloadResources": []string{"argoproj.io/v1alpha1/rollouts=spec.template"},
	}}
	if only {
		release.Values["namespaces"] = []string{shop, gone}
	}
	release.Values["audit"] = map[string]any{"events": true}
	r := newReports(t, plane)
	i := installIn(t, plane, release)
	from, err := os.Stat(plane.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	again := i.useEverything(t, shop, gone)
	i.useAudit(t, r, shop)
	wanted, err := i.rules()
	if err != nil {
		t.Fatal(err)
	}
	// The rights in the namespace that is gone went with it.
	wanted = slices.DeleteFunc(wanted, func(r right) bool { return r.namespace == gone })
	waitUntil(t, func() error {
		again()
		used, refused, err := requestsOf(release.User(), from.Size())
		if err != nil {
			return err
		}
		for _, r := range refused {
			t.Fatalf("refused, so that the chart lacks a right: %s", r)
		}
		var unused []string
		for _, r := range wanted {
			if !slices.ContainsFunc(used, r.covers) {
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

// start runs the webhook of the release: the Deployment's flags, and the
// certificate in its Secret.
func (i *installation) start(t *testing.T) *server {
	t.Helper()
	d := &drill{drillGround: &drillGround{plane: plane, client: client}, installation: i, ns: i.release.Namespace, pods: i.release.Namespace, name: i.release.Fullname()}
	deployment, err := chart.Into[appsv1.Deployment](i.objects, "Deployment")
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range deployment.Spec.Template.Spec.Containers[0].Args {
		d.flags = append(d.flags, strings.ReplaceAll(arg, "$(POD_NAMESPACE)", d.ns))
	}
	d.configure(t, nil)
	s := d.addReplica(t)
	s.waitReady(t)
	d.trusted(t)
	// It fills the Secret of the chart; and makes one when somebody deletes that.
	secrets, name := client.CoreV1().Secrets(d.ns), d.name+"-serving"
	if err := secrets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() error {
		secret, err := secrets.Get(t.Context(), name, metav1.GetOptions{})
		if err == nil {
			s.ca = secret.Data["ca.crt"]
		}
		return err
	})
	return s
}

// useEverything asks the webhook about pods that make it look everything up that
// it ever looks up, but for a namespace that its index does not have: gone is
// deleted, and what is returned asks about it.
func (i *installation) useEverything(t *testing.T, namespace, gone string) func() {
	t.Helper()
	// As when somebody has deleted it: then it has to be created.
	if err := client.CoordinationV1().Leases(i.release.Namespace).Delete(t.Context(), "tokenward-leader", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s := i.start(t)
	mustCreatePolicy(t, `
apiVersion: tokenward.dev/v1alpha1
kind: TokenPolicy
metadata: {name: `+i.release.Name+`}
spec:
  match: {namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [`+namespace+`, `+gone+`]}]}}
  checks: [{name: secret-exists, action: Warn}]
`)
	waitStatus(t, i.release.Name, isReady(metav1.ConditionTrue))
	// Whoever may not read metrics is asked about all the same.
	if code, body := s.scrape(t, "Bearer "+tokenOf(t, namespace)); code != http.StatusForbidden {
		t.Errorf("/metrics: %d %s", code, body)
	}
	boundTokens(t, namespace)
	a := s.asker(t)
	ask := func(namespace string, p *corev1.Pod) {
		if _, err := a.ask(t.Context(), reviewBodyIn(t, namespace, p)); err != nil {
			t.Fatal(err)
		}
	}
	ask(namespace, everything())
	ask(namespace, pod("account", func(spec *corev1.PodSpec) { spec.ServiceAccountName = "nobody" }))
	if err := client.CoreV1().Namespaces().Delete(t.Context(), gone, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	return func() { ask(gone, pod("nowhere")) }
}

// everything is a pod that refers to something of each kind.
func everything() *corev1.Pod {
	return pod("everything", secretVolume("gone", false), secretVolume("held", false), func(spec *corev1.PodSpec) {
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
func (i *installation) useAudit(t *testing.T, r *reports, namespace string) {
	t.Helper()
	no := false
	_, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod("audited", secretVolume("to-come", false), func(spec *corev1.PodSpec) {
		spec.AutomountServiceAccountToken = &no
	}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	outcome := func() string {
		for _, report := range r.byName(t) {
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
		{func() { createSecret(t, namespace, "another") }, "warn"}, // pods are not watched
		{func() { i.setAction(t, "Deny") }, "fail"},
		{func() { createSecret(t, namespace, "to-come") }, "none"},
	} {
		step.change()
		waitUntil(t, func() error {
			if got := outcome(); got != step.want {
				return fmt.Errorf("the report says %s, want %s", got, step.want)
			}
			return nil
		})
	}
}

// setAction changes the policy of useEverything.
func (i *installation) setAction(t *testing.T, action string) {
	t.Helper()
	policies, err := dynamic.NewForConfig(plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = policies.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.TokenPolicyResource)).Patch(t.Context(), i.release.Name, types.MergePatchType,
		[]byte(`{"spec": {"checks": [{"name": "secret-exists", "action": "`+action+`"}]}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// boundTokens makes a Secret "held" with tokens that are bound to a pod and to a node.
func boundTokens(t *testing.T, namespace string) {
	t.Helper()
	node, err := client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-of-" + namespace}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.CoreV1().Nodes().Delete(context.Background(), node.Name, metav1.DeleteOptions{}) })
	bound, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod("bound"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]string{}
	for key, to := range map[string]authenticationv1.BoundObjectReference{
		"pod": {Kind: "Pod", Name: bound.Name, UID: bound.UID}, "node": {Kind: "Node", Name: node.Name, UID: node.UID},
	} {
		to.APIVersion = "v1"
		request, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &to},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		held[key] = request.Status.Token
	}
	_, err = client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "held"}, StringData: held,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// covers reports whether a request stands on this right.
func (r right) covers(request right) bool {
	return r.verb == request.verb && r.group == request.group && r.resource == request.resource && r.subresource == request.subresource &&
		(r.namespace == "" || r.namespace == request.namespace) && (r.name == "" || r.name == request.name)
}

// requestsOf returns what a user has asked the API server for, by the audit log
// from some byte on; and of that what it was refused.
func requestsOf(user string, from int64) (all, refused []right, err error) {
	log, err := os.Open(plane.AuditLog)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = log.Close() }()
	if _, err := log.Seek(from, io.SeekStart); err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(log)
	if err != nil {
		return nil, nil, err
	}
	for line := range bytes.Lines(text) {
		var event struct {
			Verb      string
			User      struct{ Username string }
			ObjectRef struct{ Namespace, APIGroup, Resource, Subresource, Name string }

			ResponseStatus struct{ Code int }
		}
		// The last line may be half written.
		if !bytes.Contains(line, []byte(user)) || json.Unmarshal(line, &event) != nil || event.User.Username != user || event.ObjectRef.Resource == "" {
			continue
		}
		o := event.ObjectRef
		r := right{o.Namespace, event.Verb, o.APIGroup, o.Resource, o.Subresource, o.Name}
		if event.ResponseStatus.Code == 403 && !slices.Contains(refused, r) {
			refused = append(refused, r)
		}
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all, refused, nil
}
