package e2e

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
)

// broken writes a policy for one namespace past the webhook, as when it is down.
func broken(t *testing.T, name, namespace, rest string) {
	t.Helper()
	mustCreatePolicy(t, "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: "+name+"}\nspec:\n"+
		"  match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "+namespace+"}}}\n"+rest)
}

// Broken CEL that slipped in is Ready=False with the compiler's message, and
// onUnknown answers for exactly those pods that the rest of the match selects.
func TestBrokenConditionActsAsOnUnknownSays(t *testing.T) {
	allow, deny, other := newNamespace(t), newNamespace(t), newNamespace(t)
	s := startWebhook(t)
	s.register(t, allow, deny, other)
	const rest = "  checks: [{name: secret-exists, action: Deny}]\n  matchConditions: [{name: c, expression: \"object.spec.\"}]\n"
	broken(t, "broken-allow", allow, rest)
	broken(t, "broken-deny", deny, rest+"  onUnknown: Deny\n")
	for _, name := range []string{"broken-allow", "broken-deny"} {
		waitStatus(t, name, isReady(metav1.ConditionFalse, "spec.matchConditions[0].expression", "Syntax error"))
	}
	if n := s.metric(t, "tokenward_policies", `ready="false"`); n != 2 {
		t.Errorf("tokenward_policies{ready=false}: got %v, want 2", n)
	}
	missing := secretVolume("gone", false)
	if warned, err := try(t, deny, pod("bad", missing)); err == nil {
		t.Errorf("under onUnknown Deny the pod is let in, with warnings %q", warned)
	} else {
		mustContain(t, err.Error(), "TokenPolicy broken-deny; whether it matches is unknown: a part of its match does not compile", `Secret "gone"`)
	}
	if _, err := try(t, deny, pod("good")); err != nil {
		t.Errorf("a pod without a finding: %v", err)
	}
	for _, ns := range []string{allow, other} {
		warned, err := try(t, ns, pod("bad", missing))
		if err != nil || len(warned) != 1 {
			t.Errorf("%s: want the default's warning, got %q, %v", ns, warned, err)
		}
	}
	mustContain(t, auditAnnotation(t, allow, "bad", "findings"), `"check":"secret-exists"`)
}

// An unknown check, after a downgrade say, leaves the rest of the policy in force.
func TestUnknownCheckLeavesTheRestInForce(t *testing.T) {
	ns := newNamespace(t)
	s := startWebhook(t)
	s.register(t, ns)
	broken(t, "newer", ns, "  checks: [{name: secret-of-tomorrow, action: Deny}, {name: secret-exists, action: Deny}]\n")
	p := waitStatus(t, "newer", isReady(metav1.ConditionFalse, "spec.checks[0].name", "unknown check"))
	if c := p.Status.Conditions[0]; c.Reason != "UnknownCheck" && p.Status.Conditions[1].Reason != "UnknownCheck" {
		t.Errorf("reason: %+v", p.Status.Conditions)
	}
	if _, err := try(t, ns, pod("bad", secretVolume("gone", false))); err == nil || !strings.Contains(err.Error(), "TokenPolicy newer") {
		t.Errorf("the other check is not in force: %v", err)
	}
	// Who changes a label of such a policy need not mend it first.
	s.registerPolicies(t)
	api, _ := policies(t)
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
	startWebhook(t)
	for _, p := range []string{"a", "b"} {
		mustCreatePolicy(t, "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: overlap-"+p+"}\n"+
			"spec: {match: {namespaceSelector: {matchLabels: {nobody: has-this}}}, mutate: {serviceAccount: {name: "+p+"}}}\n")
	}
	overlapping := func(p string, want metav1.ConditionStatus) {
		waitStatus(t, p, func(p *v1alpha1.TokenPolicy) error {
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
	deletePolicy(t, "overlap-a")
	overlapping("overlap-b", metav1.ConditionFalse)
}

// Only the leader writes status; when it goes, another takes its place.
func TestTheLeaderAloneWritesStatus(t *testing.T) {
	ns := newNamespace(t)
	own := installIn(t, plane, chart.Release{Name: ns, Namespace: ns})
	flags := []string{"--kubeconfig=" + own.kubeconfig, "--leader-elect", "--pod-namespace=" + ns}
	first := startWebhook(t, flags...)
	waitLog(t, first, `"Leading"`)
	second := startWebhook(t, flags...)
	broken(t, "led-1", ns, "  checks: [{name: secret-exists}]\n")
	waitStatus(t, "led-1", isReady(metav1.ConditionTrue))
	if strings.Contains(second.log.String(), `"Leading"`) {
		t.Error("there are two leaders")
	}
	if err := first.stop(t); err != nil {
		t.Fatal(err)
	}
	waitLog(t, second, `"Leading"`)
	broken(t, "led-2", ns, "  checks: [{name: secret-exists}]\n")
	waitStatus(t, "led-2", isReady(metav1.ConditionTrue))
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
	s := startWebhook(t, "--log-level=error")
	a := s.asker(t)
	body := reviewBody(t, pod("drill", secretVolume("gone", false)))
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
				r, err := a.ask(t.Context(), body)
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
	api, _ := policies(t)
	for round := range 3 {
		name := fmt.Sprintf("drill-%d", round)
		change("denied", func() {
			broken(t, name, metav1.NamespaceDefault, "  matchConditions: [{name: c, expression: \"object.metadata.name == 'drill'\"}]\n  checks: [{name: secret-exists, action: Deny}]\n")
		})
		change("recorded", func() {
			patch := []byte(`{"spec":{"checks":[{"name":"secret-exists","action":"Audit"}]}}`)
			if _, err := api.Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
		})
		change("warned", func() { deletePolicy(t, name) })
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
	body := reviewBody(t, pod("first", secretVolume("gone", false)))
	s := launch(t, "--log-level=error", "--kubeconfig="+standard.kubeconfig)
	a := s.asker(t)
	refused := 0
	waitUntil(t, func() error {
		for range 50 {
			r, err := a.ask(t.Context(), body)
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
	if err := s.stop(t); err != nil {
		t.Errorf("%v\n%s", err, s.log.String())
	}
}
