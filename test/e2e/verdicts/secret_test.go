package verdicts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// actionTest is what becomes of a pod whose Secret is missing.
type actionTest struct {
	name     string
	policies string
	flags    []string
	warned   bool
	refused  bool
	action   string // in the annotation "findings"
	would    string // in the annotation "would"
}

// mustBeRecorded looks for the finding in the audit log and in the metrics.
func (tt *actionTest) mustBeRecorded(t *testing.T, s *harness.Server, ns string) {
	t.Helper()
	findings := env.AuditAnnotation(t, ns, "p", "findings")
	if tt.action == "" {
		if findings != "" {
			t.Errorf("audit annotation: want none, got %s", findings)
		}
	} else {
		harness.MustContain(t, findings, `"check":"secret-exists"`, `"action":"`+tt.action+`"`, `"state":"absent"`,
			`"object":"Secret `+ns+`/gone"`, `"path":"spec.volumes[0].secret.secretName"`)
		if n := s.Metric(t, "tokenward_findings_total", `check="secret-exists"`, `action="`+tt.action+`"`, `state="absent"`); n != 1 {
			t.Errorf("tokenward_findings_total: got %v, want 1", n)
		}
	}
	would := env.AuditAnnotation(t, ns, "p", "would")
	if tt.would == "" && would != "" {
		t.Errorf("audit annotation would: want none, got %s", would)
	}
	harness.MustContain(t, would, tt.would)
}

// What each action means for a pod whose Secret is missing.
func TestActionsOnAMissingSecret(t *testing.T) {
	const line = `secret-exists: Secret "gone" (spec.volumes[0].secret.secretName) does not exist: ` +
		`the pod will hang in ContainerCreating. Create it, or correct the name.`
	tests := []actionTest{
		{name: "by default the pod is created with a warning", warned: true, action: "Warn"},
		{name: "Deny refuses it", policies: harness.SecretExistsPolicy("Deny", ""), refused: true, action: "Deny"},
		{name: "Audit records and nothing more", policies: harness.SecretExistsPolicy("Audit", ""), action: "Audit"},
		{name: "None does not even record", policies: harness.SecretExistsPolicy("None", "")},
		{name: "--dry-run records and nothing more", policies: harness.SecretExistsPolicy("Deny", ""), flags: []string{"--dry-run"}, action: "Audit", would: "Deny"},
		{
			name: "a policy in DryRun records what it would do, and weakens nothing",
			policies: harness.SecretExistsPolicy("Audit", "") + "---\n" +
				strings.Replace(harness.SecretExistsPolicy("Deny", "  mode: DryRun\n"), "name: default", "name: trial", 1),
			action: "Audit", would: "Deny",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			flags := tt.flags
			if tt.policies != "" {
				flags = append(flags, "--policy-file="+harness.PolicyFile(t, tt.policies))
			}
			s := env.StartWebhook(t, flags...)
			ns := env.NewNamespace(t)
			env.Register(t, s, ns)

			// Without a token, so that nothing else is found.
			warned, err := env.CreatePod(t, ns, harness.Pod("p", harness.SecretVolume("gone", false), func(s *corev1.PodSpec) { s.AutomountServiceAccountToken = new(bool) }))
			if tt.refused {
				if !apierrors.IsForbidden(err) {
					t.Fatalf("want a refusal, got: %v", err)
				}
				harness.MustContain(t, err.Error(), `"validate.pods.tokenward.dev" denied the request: `+line+" (TokenPolicy default)")
			} else if err != nil {
				t.Fatal(err)
			}
			if want := map[bool][]string{true: {line}}[tt.warned]; fmt.Sprint(warned) != fmt.Sprint(want) {
				t.Errorf("warnings: got %q, want %q", warned, want)
			}
			tt.mustBeRecorded(t, s, ns)
		})
	}
}

func TestWhatIsNotAFault(t *testing.T) {
	s := env.StartWebhook(t, "--policy-file="+harness.PolicyFile(t, harness.SecretExistsPolicy("Deny", "")))
	ns := env.NewNamespace(t)
	env.Register(t, s, ns)
	env.CreateSecret(t, ns, "there", "k")
	tests := []struct {
		name string
		pod  *corev1.Pod
	}{
		{"a Secret that exists", harness.Pod("exists", harness.SecretVolume("there", false))},
		{"a Secret that is optional", harness.Pod("optional", harness.SecretVolume("gone", true))},
		{"a volume that no container mounts", harness.Pod("unmounted", harness.SecretVolume("gone", false), func(s *corev1.PodSpec) {
			s.Containers[0].VolumeMounts = nil
		})},
		{"no Secret at all", harness.Pod("none")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			warned, err := env.CreatePod(t, ns, tt.pod)
			if err != nil || len(warned) > 0 {
				t.Errorf("got warnings %q and error %v, want neither", warned, err)
			}
		})
	}
}

// A Secret made just before its pod is never missed.
func TestSecretOfTheSameApply(t *testing.T) {
	s := env.StartWebhook(t, "--policy-file="+harness.PolicyFile(t, harness.SecretExistsPolicy("Deny", "")))
	ns := env.NewNamespace(t)
	env.Register(t, s, ns)
	for i := range 100 {
		name := fmt.Sprintf("new-%d", i)
		env.CreateSecret(t, ns, name, "k")
		if _, err := env.CreatePod(t, ns, harness.Pod(name, harness.SecretVolume(name, false))); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
}

// Nobody reads a controller's warnings, but its events.
func TestReplicaSetEventCarriesTheWholeReason(t *testing.T) {
	s := env.StartWebhook(t, "--policy-file="+harness.PolicyFile(t, harness.SecretExistsPolicy("Deny", "")))
	ns := env.NewNamespace(t)
	env.Register(t, s, ns)
	// Long names are the worst case.
	long := strings.Repeat("long-name-", 25) + "-x"
	template := harness.Pod("", harness.SecretVolume(long, false), harness.SecretVolume("gone-2", false), harness.SecretVolume("gone-3", false))
	template.Labels = map[string]string{"app": "x"}
	one := int32(1)
	_, err := env.Client.AppsV1().ReplicaSets(ns).Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "rs"},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: template.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: template.ObjectMeta, Spec: template.Spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var message string
	err = cluster.Eventually(t.Context(), harness.Patience, func(ctx context.Context) error {
		events, err := env.Client.CoreV1().Events(ns).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=ReplicaSet,reason=FailedCreate"})
		if err != nil {
			return err
		}
		if len(events.Items) == 0 {
			return errors.New("no event on the ReplicaSet")
		}
		message = events.Items[0].Message
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	harness.MustContain(t, message, "3 findings: (1) secret-exists: Secret \"long-name-", "spec.volumes[1].secret.secretName",
		`(3) secret-exists: Secret "gone-3" (spec.volumes[2].secret.secretName) does not exist: the pod will hang in ContainerCreating. Create it, or correct the name.`,
		"(TokenPolicy default)")
}

// kube-system is warned and never refused.
func TestWarnPathNeverRefuses(t *testing.T) {
	s := env.StartWebhook(t, "--policy-file="+harness.PolicyFile(t, harness.SecretExistsPolicy("Deny", "")))
	env.WaitForAccount(t, "kube-system")
	env.Register(t, s, "kube-system")
	p := harness.Pod("dns", harness.SecretVolume("default-token-jvrkf", false))
	t.Cleanup(func() {
		_ = env.Client.CoreV1().Pods("kube-system").Delete(context.Background(), p.Name, metav1.DeleteOptions{})
	})
	warned, err := env.CreatePod(t, "kube-system", p)
	if err != nil {
		t.Fatal(err)
	}
	if len(warned) != 1 {
		t.Fatalf("want one warning, got %q", warned)
	}
	harness.MustContain(t, warned[0], `Secret "default-token-jvrkf"`, "projected token")
}
