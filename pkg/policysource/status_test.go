package policysource

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

func TestTheLeaderAloneWritesStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, tokenPolicy(t, "p", denyMissing))
		later(time.Hour)
		if got := c.written("p"); len(got) != 0 {
			t.Fatalf("a replica that does not lead wrote %v", got)
		}
		inBackground(t, c.Lead)
		later(time.Hour)
		got := c.written("p")
		if len(got) != 1 || got[0].GetUID() != "uid-p" || got[0].GetName() != "p" {
			t.Fatalf("want the status written once, for this uid: %v", got)
		}
		if c.log.count("can't be written") != 0 {
			t.Errorf("%q", c.log.lines)
		}
	})
}

// condition returns a condition of the last status that was written.
func (c *cluster) condition(name, kind string) metav1.Condition {
	c.t.Helper()
	all := c.written(name)
	if len(all) == 0 {
		c.t.Fatalf("no status of %s was written", name)
	}
	var p v1alpha1.TokenPolicy
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(all[len(all)-1].Object, &p); err != nil {
		c.t.Fatal(err)
	}
	found := meta.FindStatusCondition(p.Status.Conditions, kind)
	if found == nil {
		c.t.Fatalf("%s has no condition %s: %+v", name, kind, p.Status)
	}
	if p.Status.ObservedGeneration != found.ObservedGeneration || found.LastTransitionTime.IsZero() {
		c.t.Errorf("got %+v", p.Status)
	}
	return *found
}

func TestTheStatusTellsWhatWasMadeOfAPolicy(t *testing.T) {
	tests := []struct{ name, spec, reason, message string }{
		{name: "in force", spec: denyMissing, reason: v1alpha1.ReasonCompiled, message: "The policy is in force."},
		{name: "an unknown check", spec: halfBroken, reason: v1alpha1.ReasonUnknownCheck, message: "spec.checks[1].name"},
		{name: "an unknown check among other mistakes", spec: "{mode: Never, checks: [{name: of-the-future, action: Deny}]}", reason: v1alpha1.ReasonInvalid, message: "spec.mode"},
		{name: "what the schema would have kept out", spec: "{checks: none}", reason: v1alpha1.ReasonInvalid, message: "spec"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, tokenPolicy(t, "p", tt.spec))
				inBackground(t, c.Lead)
				later(time.Minute)
				got := c.condition("p", v1alpha1.ConditionReady)
				if got.Reason != tt.reason || !strings.Contains(got.Message, tt.message) || (got.Status == metav1.ConditionTrue) != (tt.reason == v1alpha1.ReasonCompiled) {
					t.Errorf("got %+v", got)
				}
				if n := len(c.written("p")); n != 1 {
					t.Errorf("written %d times", n)
				}
			})
		})
	}
}

func TestOverlapsAreToldOfTheLaterPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, tokenPolicy(t, "a", "{mutate: {serviceAccount: {name: one}}}"), tokenPolicy(t, "b", "{mutate: {serviceAccount: {name: two}}}"))
		inBackground(t, c.Lead)
		later(time.Minute)
		if got := c.condition("a", v1alpha1.ConditionOverlapping); got.Status != metav1.ConditionFalse {
			t.Errorf("got %+v", got)
		}
		if got := c.condition("b", v1alpha1.ConditionOverlapping); got.Status != metav1.ConditionTrue || !strings.Contains(got.Message, `TokenPolicy "a"`) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestALongMessageIsCutWhereACharacterEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checks := make([]string, 400)
		for i := range checks {
			checks[i] = fmt.Sprintf("{name: prüfung-%d, action: Deny}", i)
		}
		c := start(t, tokenPolicy(t, "p", "{checks: ["+strings.Join(checks, ", ")+"]}"))
		inBackground(t, c.Lead)
		later(time.Minute)
		if got := c.condition("p", v1alpha1.ConditionReady).Message; len(got) > 32_768 || !strings.HasSuffix(got, "...") || strings.ContainsRune(got, '\uFFFD') {
			t.Errorf("%d bytes: %.40s", len(got), got)
		}
	})
}

func TestAStatusThatCanNotBeWrittenIsTriedAgainAndToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, tokenPolicy(t, "p", denyMissing))
		c.refuse = apierrors.NewForbidden(resource.GroupResource(), "p", errors.New("no right"))
		inBackground(t, c.Lead)
		later(time.Minute)
		if n := c.log.count("The status of TokenPolicies can't be written"); n != 1 || len(c.written("p")) < 5 {
			t.Errorf("told %d times, tried %d times", n, len(c.written("p")))
		}
		c.mu.Lock()
		c.refuse = nil
		c.mu.Unlock()
		later(time.Minute)
		if got := c.condition("p", v1alpha1.ConditionReady); got.Status != metav1.ConditionTrue {
			t.Errorf("got %+v", got)
		}
	})
}

// A policy that somebody touches all the time must not be written all the time.
func TestAStatusOfAnotherHandIsPutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, tokenPolicy(t, "p", denyMissing))
		inBackground(t, c.Lead)
		later(time.Minute)
		stored, err := c.fake.Tracker().Get(resource, "", "p")
		if err != nil {
			t.Fatal(err)
		}
		forged := stored.(*unstructured.Unstructured).DeepCopy() //nolint:forcetypeassert // nothing else is stored
		if err := unstructured.SetNestedField(forged.Object, "Audit", "status", "strictestAction"); err != nil {
			t.Fatal(err)
		}
		c.update(forged)
		later(time.Minute)
		got := c.written("p")
		action, _, _ := unstructured.NestedString(got[len(got)-1].Object, "status", "strictestAction")
		if len(got) != 2 || action != "Deny" {
			t.Errorf("written %d times, at last %s", len(got), action)
		}
	})
}
