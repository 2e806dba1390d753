package tokens

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// hang says of a pod what a kubelet would say while a Secret is missing.
func (f *field) hang(t *testing.T, name string) {
	t.Helper()
	core := f.client.CoreV1()
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: name}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
	if err := core.Pods(home).Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p, err := core.Pods(home).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Status.Phase = corev1.PodPending
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "main", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}},
	}}
	if _, err := core.Pods(home).UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.event(t, p, `MountVolume.SetUp failed for volume "v0" : secret "robot-token-abcde" not found`)
}

func (f *field) event(t *testing.T, p *corev1.Pod, message string) {
	t.Helper()
	now := metav1.Now()
	_, err := f.client.CoreV1().Events(home).Create(t.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: p.Name + "."},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: home, Name: p.Name, UID: p.UID},
		Type:           corev1.EventTypeWarning, Reason: "FailedMount", Message: message, FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *field) pod(t *testing.T, name string, change ...func(*corev1.PodSpec)) *corev1.Pod {
	t.Helper()
	p, err := f.client.CoreV1().Pods(home).Create(t.Context(), harness.Pod(name, change...), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// After the signing key of a cluster was changed every token Secret is dead and
// nothing notices: one audit tells all of them, who mounts each, and what else
// has an old token in it.
func TestAuditAfterAKeyRotation(t *testing.T) {
	f := newField(t)
	harness.WaitUntil(t, func() error {
		_, err := f.client.CoreV1().ServiceAccounts(home).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	tokens := map[string]string{}
	for _, name := range []string{"robot-a", "robot-b", "robot-unmounted"} {
		tokens[name] = f.tokenSecret(t, name, "robot")
	}
	_, err := f.client.AppsV1().Deployments(home).Create(t.Context(), harness.Deployment("web", 2, harness.All(harness.RunAs("robot"), harness.SecretVolume("robot-a", false))), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.pod(t, "lonely", harness.RunAs("robot"), harness.SecretVolume("robot-a", false), harness.SecretVolume("robot-b", false))
	f.pod(t, "stuck", harness.RunAs("robot"), harness.SecretVolume("robot-token-abcde", false))
	f.hang(t, "stuck")
	running := f.pod(t, "running", harness.RunAs("robot"))
	running.Status.Phase = corev1.PodRunning
	if _, err := f.client.CoreV1().Pods(home).UpdateStatus(t.Context(), running, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.event(t, running, "an old failure")
	f.calico(t, tokens["robot-a"])
	signer, public, _ := f.newRSA(t, "new")
	if err := f.plane.UseSigningKey(signer, public); err != nil {
		t.Fatal(err)
	}
	// A pod counts as stuck after a minute; it is not worth a test's minute.
	f.age(t, "stuck")

	a := harness.Audited(t, f.plane.Kubeconfig, "-A")
	f.mustTellTheDead(t, a)
	f.mustExplainTheStuck(t, a)
	var accounts []string
	for _, c := range a.Accounts {
		if c.Needless {
			accounts = append(accounts, c.Namespace+"/"+c.Name)
		}
	}
	if !slices.Contains(accounts, home+"/robot") {
		t.Errorf("accounts that need no token: %v, want that of robot", accounts)
	}
	f.grant(t)
	a = harness.Audited(t, f.plane.Kubeconfig, "-n", home)
	for _, c := range a.Accounts {
		if c.Name == "robot" && (c.Needless || !slices.Equal(c.May, []string{"get,list secrets in " + home})) {
			t.Errorf("what robot may do: %+v", c)
		}
	}
}

func (f *field) mustTellTheDead(t *testing.T, a *report.Audit) {
	t.Helper()
	got := map[string][]string{}
	for _, d := range a.Dead {
		got[d.Secret] = []string{}
		for _, w := range d.Workloads {
			got[d.Secret] = append(got[d.Secret], w.String())
		}
	}
	harness.Compare(t, got, map[string][]string{
		home + "/robot-a":         {"Deployment " + home + "/web", "Pod " + home + "/lonely"},
		home + "/robot-b":         {"Pod " + home + "/lonely"},
		home + "/robot-unmounted": {},
	})
	found := map[string][]string{}
	for w, list := range harness.Findings(a) {
		for _, text := range list {
			if strings.HasPrefix(text, "token-valid ") {
				found[w] = append(found[w], text)
			}
		}
	}
	harness.Compare(t, found, map[string][]string{
		"Deployment " + home + "/web": {"token-valid Secret " + home + "/robot-a present"},
		"Pod " + home + "/lonely":     {"token-valid Secret " + home + "/robot-a present", "token-valid Secret " + home + "/robot-b present"},
	})
	if len(a.Embedded) != 1 || a.Embedded[0].Object.Name != "calico-config" || a.Embedded[0].Verdict != "invalid" ||
		a.Embedded[0].Key != "cni_network_config" || a.Embedded[0].Account != home+"/robot" || !strings.Contains(a.Embedded[0].Note, "Edit this ConfigMap") {
		t.Errorf("embedded tokens: %+v", a.Embedded)
	}
}

func (f *field) mustExplainTheStuck(t *testing.T, a *report.Audit) {
	t.Helper()
	if len(a.Stuck) != 1 || a.Stuck[0].Pod.Name != "stuck" || a.Stuck[0].Reason != "ContainerCreating" || len(a.Stuck[0].Causes) != 2 {
		t.Fatalf("stuck pods: %+v", a.Stuck)
	}
	harness.MustContain(t, strings.Join(a.Stuck[0].Causes, "\n"), `Secret "robot-token-abcde" (spec.volumes[0].secret.secretName) does not exist`, "event FailedMount", "not found")
	for _, w := range a.Workloads {
		if w.Name == "stuck" && w.Findings[0].When != "now: pods wait for it" {
			t.Errorf("when: %q", w.Findings[0].When)
		}
	}
}

// calico makes the ConfigMap from which Calico's CNI configuration is rendered.
func (f *field) calico(t *testing.T, token string) {
	t.Helper()
	_, err := f.client.CoreV1().ConfigMaps("kube-system").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "calico-config"},
		Data:       map[string]string{"cni_network_config": `{"name": "k8s-pod-network", "plugins": [{"type": "calico", "policy": {"type": "k8s", "k8s_auth_token": "` + token + `"}}]}`},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// age puts the time at which a kubelet took a pod on back by years.
func (f *field) age(t *testing.T, name string) {
	t.Helper()
	_, err := f.client.CoreV1().Pods(home).Patch(t.Context(), name, types.StrategicMergePatchType,
		[]byte(`{"status": {"startTime": "2020-01-01T00:00:00Z"}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
}

func (f *field) grant(t *testing.T) {
	t.Helper()
	_, err := f.client.RbacV1().Roles(home).Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "list"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.client.RbacV1().RoleBindings(home).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: home, Name: "robot"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}
