package policies

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// broken writes a policy for one namespace past the webhook, as when it is down.
func broken(t *testing.T, name, namespace, rest string) {
	t.Helper()
	env.MustCreatePolicy(t, "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: "+name+"}\nspec:\n"+
		"  match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "+namespace+"}}}\n"+rest)
}

// Broken CEL that slipped in is Ready=False with the compiler's message, and
// failurePolicy answers for exactly those pods that the rest of the match selects.
func TestBrokenConditionActsAsFailurePolicySays(t *testing.T) {
	ignored, failing, other := env.NewNamespace(t), env.NewNamespace(t), env.NewNamespace(t)
	s := env.StartWebhook(t)
	env.Register(t, s, ignored, failing, other)
	const rest = "  checks: [{name: secret-exists, action: Deny}]\n  matchConditions: [{name: c, expression: \"object.spec.\"}]\n"
	broken(t, "broken-ignored", ignored, rest+"  failurePolicy: Ignore\n")
	broken(t, "broken-failing", failing, rest)
	for _, name := range []string{"broken-ignored", "broken-failing"} {
		env.WaitStatus(t, name, harness.Ready(metav1.ConditionFalse, "spec.matchConditions[0].expression", "Syntax error"))
	}
	if n := s.Metric(t, "tokenward_policies", `ready="false"`); n != 2 {
		t.Errorf("tokenward_policies{ready=false}: got %v, want 2", n)
	}
	missing := harness.SecretVolume("gone", false)
	if warned, err := env.CreatePod(t, failing, harness.Pod("bad", missing)); err == nil {
		t.Errorf("under failurePolicy Fail the pod is let in, with warnings %q", warned)
	} else {
		harness.MustContain(t, err.Error(), "TokenPolicy broken-failing; whether it matches is unknown: condition \"c\" does not compile", `Secret "gone"`)
	}
	if _, err := env.CreatePod(t, failing, harness.Pod("good")); err != nil {
		t.Errorf("a pod without a finding: %v", err)
	}
	for _, ns := range []string{ignored, other} {
		warned, err := env.CreatePod(t, ns, harness.Pod("bad", missing))
		if err != nil || len(warned) != 1 {
			t.Errorf("%s: want the default's warning, got %q, %v", ns, warned, err)
		}
	}
	harness.MustContain(t, env.AuditAnnotation(t, ignored, "bad", "findings"), `"check":"secret-exists"`)
}

// An unknown check, after a downgrade say, leaves the rest of the policy in force.
func TestUnknownCheckLeavesTheRestInForce(t *testing.T) {
	ns := env.NewNamespace(t)
	s := env.StartWebhook(t)
	env.Register(t, s, ns)
	broken(t, "newer", ns, "  checks: [{name: secret-of-tomorrow, action: Deny}, {name: secret-exists, action: Deny}]\n")
	p := env.WaitStatus(t, "newer", harness.Ready(metav1.ConditionFalse, "spec.checks[0].name", "unknown check"))
	if c := p.Status.Conditions[0]; c.Reason != "UnknownCheck" && p.Status.Conditions[1].Reason != "UnknownCheck" {
		t.Errorf("reason: %+v", p.Status.Conditions)
	}
	if _, err := env.CreatePod(t, ns, harness.Pod("bad", harness.SecretVolume("gone", false))); err == nil || !strings.Contains(err.Error(), "TokenPolicy newer") {
		t.Errorf("the other check is not in force: %v", err)
	}
	// Who changes a label of such a policy need not mend it first.
	registerPolicies(t, s)
	api, _ := env.Policies(t)
	patch := []byte(`{"metadata":{"labels":{"seen":"true"}}}`)
	if _, err := api.Patch(t.Context(), "newer", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Errorf("a label can't be changed: %v", err)
	}
	// Nor who takes a step back; but nothing more may be broken.
	patch = []byte(`{"spec":{"mode":"DryRun"}}`)
	if _, err := api.Patch(t.Context(), "newer", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Errorf("the policy can't be set to DryRun: %v", err)
	}
	patch = []byte(`{"spec":{"matchConditions":[{"name":"c","expression":"object.spec."}]}}`)
	if _, err := api.Patch(t.Context(), "newer", types.MergePatchType, patch, metav1.PatchOptions{}); err == nil || !strings.Contains(err.Error(), "Syntax error") {
		t.Errorf("another fault: want a refusal, got %v", err)
	}
}

func TestOverlappingChangesShowInStatus(t *testing.T) {
	env.StartWebhook(t)
	for _, p := range []string{"a", "b"} {
		env.MustCreatePolicy(t, "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: overlap-"+p+"}\n"+
			"spec: {match: {namespaceSelector: {matchLabels: {nobody: has-this}}}, mutate: {serviceAccount: {name: "+p+"}}}\n")
	}
	overlapping := func(p string, want metav1.ConditionStatus) {
		env.WaitStatus(t, p, func(p *v1alpha1.TokenPolicy) error {
			for _, c := range p.Status.Conditions {
				if c.Type == "Overlapping" && c.Status == want {
					return nil
				}
			}
			return fmt.Errorf("Overlapping is not %s: %+v", want, p.Status.Conditions)
		})
	}
	overlapping("overlap-a", metav1.ConditionFalse)
	overlapping("overlap-b", metav1.ConditionTrue)
	env.DeletePolicy(t, "overlap-a")
	overlapping("overlap-b", metav1.ConditionFalse)
}

// Only the leader writes status; when it goes, another takes its place.
func TestTheLeaderAloneWritesStatus(t *testing.T) {
	ns := env.NewNamespace(t)
	own := harness.Install(t, env.Plane, chart.Release{Name: ns, Namespace: ns})
	flags := []string{"--kubeconfig=" + own.Kubeconfig, "--leader-elect", "--pod-namespace=" + ns}
	first := env.StartWebhook(t, flags...)
	first.WaitLog(t, `"Leading"`)
	second := env.StartWebhook(t, flags...)
	broken(t, "led-1", ns, "  checks: [{name: secret-exists, action: Warn}]\n")
	env.WaitStatus(t, "led-1", harness.Ready(metav1.ConditionTrue))
	if strings.Contains(second.Log.String(), `"Leading"`) {
		t.Error("there are two leaders")
	}
	if err := first.Stop(t); err != nil {
		t.Fatal(err)
	}
	second.WaitLog(t, `"Leading"`)
	broken(t, "led-2", ns, "  checks: [{name: secret-exists, action: Warn}]\n")
	env.WaitStatus(t, "led-2", harness.Ready(metav1.ConditionTrue))
}

// stage is what reviews must lead to, from some time on; until a second has
// passed since the change, what they led to before is right, too.
type stage struct {
	want, before string
	settled      bool
}

func outcome(r *admissionv1.AdmissionResponse) string {
	switch {
	case !r.Allowed:
		return "denied"
	case len(r.Warnings) > 0:
		return "warned"
	}
	return "recorded"
}

// Creating, changing and deleting a policy takes effect within a second on
// reviews that come at 1,000 a second; none is lost or wrong.
func TestPoliciesChangeUnderLoad(t *testing.T) {
	s := env.StartWebhook(t, "--log-level=error")
	a := s.Asker(t)
	body := harness.ReviewBody(t, harness.Pod("drill", harness.SecretVolume("gone", false)))
	var now atomic.Pointer[stage]
	now.Store(&stage{want: "warned", settled: true})
	loading, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var asked atomic.Int64
	for range 26 {
		group.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for loading.Err() == nil {
				before := now.Load()
				r, err := a.Ask(t.Context(), body)
				if err != nil {
					t.Errorf("lost: %v", err)
					return
				}
				if got := outcome(r); before == now.Load() && got != before.want && (before.settled || got != before.before) {
					t.Errorf("wrong: %s, want %s", got, before.want)
				}
				asked.Add(1)
				<-tick.C
			}
		})
	}
	started := time.Now()
	change := func(want string, how func()) {
		now.Store(&stage{want: want, before: now.Load().want})
		how()
		time.Sleep(time.Second)
		now.Store(&stage{want: want, settled: true})
		time.Sleep(300 * time.Millisecond)
	}
	api, _ := env.Policies(t)
	for round := range 3 {
		name := fmt.Sprintf("drill-%d", round)
		change("denied", func() {
			broken(t, name, metav1.NamespaceDefault, "  matchConditions: [{name: c, expression: \"object.metadata.name == 'drill'\"}]\n  checks: [{name: secret-exists, action: Deny}]\n")
		})
		// What one policy lists weakens no other: the default warns on.
		change("warned", func() {
			patch := []byte(`{"spec":{"checks":[{"name":"secret-exists","action":"Audit"}]}}`)
			if _, err := api.Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
		})
		change("recorded", func() {
			broken(t, "default", metav1.NamespaceDefault, "  checks: [{name: secret-exists, action: Audit}]\n")
		})
		change("warned", func() { env.DeletePolicy(t, "default") })
		env.DeletePolicy(t, name)
	}
	stop()
	group.Wait()
	t.Logf("%d reviews, %.0f a second", asked.Load(), float64(asked.Load())/time.Since(started).Seconds())
}

// A server that starts answers by all policies or not at all.
func TestNoReviewByAHalfLoadedSet(t *testing.T) {
	for i := range 60 {
		broken(t, fmt.Sprintf("many-%02d", i), metav1.NamespaceDefault, "  matchConditions: [{name: c, expression: \"object.metadata.name == 'other'\"}]\n  checks: [{name: secret-exists, action: Audit}]\n")
	}
	broken(t, "zz-last", metav1.NamespaceDefault, "  checks: [{name: secret-exists, action: Deny}]\n")
	body := harness.ReviewBody(t, harness.Pod("first", harness.SecretVolume("gone", false)))
	s := harness.Launch(t, "--log-level=error", "--kubeconfig="+env.Standard.Kubeconfig)
	a := s.Asker(t)
	refused := 0
	harness.WaitUntil(t, func() error {
		for range 50 {
			r, err := a.Ask(t.Context(), body)
			if err != nil {
				refused++
				return err // not listening yet, or 503
			}
			if r.Allowed {
				t.Fatalf("let in by a set that is not whole: %+v", r)
			}
		}
		return nil
	})
	if refused == 0 {
		t.Error("the first review was answered: the test shows nothing")
	}
	if err := s.Stop(t); err != nil {
		t.Errorf("%v\n%s", err, s.Log.String())
	}
}
