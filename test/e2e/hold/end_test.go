package hold

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// patchPolicy changes the spec of a policy.
func patchPolicy(t *testing.T, name, patch string) {
	t.Helper()
	api, _ := env.Policies(t)
	_, err := api.Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":`+patch+`}`), metav1.PatchOptions{})
	fatal(t, err)
}

// Whatever ends it, no pod stays held.
func TestNothingStaysHeld(t *testing.T) {
	serve(t)
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, name, ns string)
		told string
	}{
		{"policy-deleted", func(t *testing.T, name, _ string) { env.DeletePolicy(t, name) }, "no policy holds it"},
		{"policy-weakened", func(t *testing.T, name, _ string) {
			patchPolicy(t, name, `{"checks":[{"name":"secret-exists","action":"Warn"}]}`)
		}, "no policy holds it"},
		{"policy-in-dry-run", func(t *testing.T, name, _ string) { patchPolicy(t, name, `{"mode":"DryRun"}`) }, "no policy holds it"},
		{"exemption", func(t *testing.T, name, ns string) {
			patchPolicy(t, name, `{"exemptions":[{"name":"e","namespaces":["`+ns+`"]}]}`)
		}, "an exemption covers"},
		{"no-longer-selected", func(t *testing.T, name, _ string) {
			patchPolicy(t, name, `{"match":{"namespaceSelector":{"matchLabels":{"hold":"other"}}}}`)
		}, "no policy holds it"},
		{"expired", func(t *testing.T, name, _ string) { patchPolicy(t, name, `{"hold":{"maxDuration":"3s"}}`) }, "was held for"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := holds(t, tt.name, "5m", "Release")
			mustHold(t, ns, harness.Pod("web", harness.SecretVolume("db", false)))
			event(t, ns, "web", "Held")
			tt.end(t, tt.name, ns)
			released(t, ns, 1)
			if told := event(t, ns, "web", "Released"); !strings.Contains(told.Message, tt.told) {
				t.Errorf("want %q in: %s", tt.told, told.Message)
			}
		})
	}
}

// With Keep a pod stays held, which is reported; and goes when the Secret is there.
func TestKeptPodsStayHeld(t *testing.T) {
	s := serve(t)
	ns := holds(t, "kept", "2s", "Keep")
	mustHold(t, ns, harness.Pod("web", harness.SecretVolume("db", false)))
	event(t, ns, "web", "HeldTooLong")
	all, err := heldPods(t.Context(), ns)
	fatal(t, err)
	if !all["web"] {
		t.Fatal("it was released")
	}
	env.CreateSecret(t, ns, "db")
	released(t, ns, 1)
	harness.WaitUntil(t, func() error { // it counts once the API server has answered
		if n := s.Metric(t, "tokenward_held_seconds_count", `reason="found"`); n != 1 {
			return fmt.Errorf("tokenward_held_seconds_count: %v", n)
		}
		return nil
	})
}

// Gates and labels of others stay, and so does all else of the pod.
func TestOnlyOurGateIsTaken(t *testing.T) {
	serve(t)
	ns := holds(t, "gates", "5m", "Release")
	pod := harness.Pod("web", harness.SecretVolume("db", false))
	pod.Labels = map[string]string{"app": "web"}
	pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/first"}, {Name: "example.com/second"}}
	before := mustHold(t, ns, pod)
	env.CreateSecret(t, ns, "db")
	harness.WaitUntil(t, func() error {
		after, err := env.Client.CoreV1().Pods(ns).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if policy.HasGate(after) {
			return fmt.Errorf("it is held")
		}
		if len(after.Spec.SchedulingGates) != 2 || after.Labels["app"] != "web" || len(after.Labels) != 1 {
			t.Fatalf("gates and labels: %v %v", after.Spec.SchedulingGates, after.Labels)
		}
		before.Spec.SchedulingGates, after.Spec.SchedulingGates = nil, nil
		if !equality.Semantic.DeepEqual(before.Spec, after.Spec) {
			t.Fatalf("the spec has changed: %+v, was %+v", after.Spec, before.Spec)
		}
		return nil
	})
}

// What is only tried out holds nothing.
func TestDryRunHoldsNothing(t *testing.T) {
	serve(t)
	ns := holds(t, "tried", "5m", "Release")
	tried, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), harness.Pod("web", harness.SecretVolume("db", false)), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	fatal(t, err)
	if policy.HasGate(tried) {
		t.Error("a request with dryRun got the gate")
	}
	patchPolicy(t, "tried", `{"mode":"DryRun"}`)
	harness.WaitUntil(t, func() error {
		made, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "dry-"}, Spec: harness.Pod("", harness.SecretVolume("db", false)).Spec,
		}, metav1.CreateOptions{})
		if err == nil && policy.HasGate(made) {
			err = fmt.Errorf("held")
		}
		return err
	})
}

// A replica that is killed in the middle of many releases loses none, and none is
// released twice: a pod that lost the gate has no more writes of ours.
func TestLeaderKilledInTheMiddleOfReleases(t *testing.T) {
	flags := []string{"--leader-elect", "--pod-namespace=tokenward-system"}
	first := serve(t, flags...)
	ns := holds(t, "leaders", "10m", "Release")
	const pods = 90 // as many as a namespace may look up at once: what is unknown is not held
	for i := range pods {
		mustHold(t, ns, harness.Pod(fmt.Sprintf("p%d", i), harness.SecretVolume(fmt.Sprintf("s%d", i), false)))
	}
	env.StartWebhook(t, append([]string{"--hold"}, flags...)...)
	seen := watchReleases(t, ns, pods)
	for i := range pods {
		env.CreateSecret(t, ns, fmt.Sprintf("s%d", i))
		if i == pods/2 {
			_ = first.Command.Process.Kill()
		}
	}
	seen.wait(t, time.Minute)
	released(t, ns, pods)
}
