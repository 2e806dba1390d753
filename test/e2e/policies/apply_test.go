package policies

import (
	"fmt"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// applied is a policy that several owners apply.
type applied struct {
	*testing.T
	name string
}

// apply is kubectl apply --server-side --field-manager=OWNER.
func (a applied) apply(owner, spec string) error {
	api, _ := env.Policies(a.T)
	u := harness.Documents(a.T, "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: "+a.name+"}\nspec: "+spec)[0]
	_, err := api.Apply(a.Context(), a.name, u, metav1.ApplyOptions{FieldManager: owner})
	return err
}

func (a applied) must(owner, spec string) {
	a.Helper()
	if err := a.apply(owner, spec); err != nil {
		a.Fatalf("%s: %v", owner, err)
	}
}

// exempts waits until the policy is in force as it is written, and returns its
// exemptions, which must have these names.
func (a applied) exempts(want ...string) map[string]v1alpha1.Exemption {
	a.Helper()
	api, _ := env.Policies(a.T)
	u, err := api.Get(a.Context(), a.name, metav1.GetOptions{})
	if err != nil {
		a.Fatal(err)
	}
	env.WaitStatus(a.T, a.name, func(p *v1alpha1.TokenPolicy) error {
		if p.Status.ObservedGeneration < u.GetGeneration() {
			return fmt.Errorf("generation %d of %d", p.Status.ObservedGeneration, u.GetGeneration())
		}
		return harness.Ready(metav1.ConditionTrue)(p)
	})
	var p v1alpha1.TokenPolicy
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &p); err != nil {
		a.Fatal(err)
	}
	found, names := map[string]v1alpha1.Exemption{}, []string{}
	for _, e := range p.Spec.Exemptions {
		found[e.Name], names = e, append(names, e.Name)
	}
	if slices.Sort(names); !slices.Equal(names, want) || len(p.Spec.Checks) != 1 {
		a.Fatalf("exemptions %q, want %q: %+v", names, want, p.Spec)
	}
	return found
}

// admits tells whether a pod of a namespace is let in that lacks a Secret.
func (a applied) admits(namespace, name string) bool {
	_, err := env.CreatePod(a.T, namespace, harness.Pod(name, harness.SecretVolume("gone", false)))
	return err == nil
}

// Two teams apply their exemptions to one policy, as GitOps does: each owns its own
// by name, and neither has to know the other's.
func TestTwoOwnersApplyTheirExemptions(t *testing.T) {
	first, second := env.NewNamespace(t), env.NewNamespace(t)
	s := env.StartWebhook(t)
	env.Register(t, s, first, second)
	registerPolicies(t, s)
	a := applied{t, "shared"}
	t.Cleanup(func() { env.DeletePolicy(t, a.name) })
	one, two := "{name: one, namespaces: ["+first+"]", "{name: two, namespaces: ["+second+"]"

	a.must("platform", "{checks: [{name: secret-exists, action: Deny}]}")
	a.must("one", "{exemptions: ["+one+"}]}")
	a.must("two", "{exemptions: ["+two+", objects: [{kind: Secret, name: gone}]}]}")
	a.exempts("one", "two")
	if !a.admits(first, "exempted") || !a.admits(second, "exempted") {
		t.Error("an exemption is not in force")
	}

	// Whoever applies again what is theirs keeps the others' in place.
	a.must("platform", "{checks: [{name: secret-exists, action: Deny, onUnknown: Deny}]}")
	a.must("one", "{exemptions: ["+one+", reason: moves in spring}]}")
	if now := a.exempts("one", "two"); now["one"].Reason != "moves in spring" || now["two"].Reason != "" {
		t.Errorf("reasons: %+v", now)
	}

	// A name is one owner's: the other is told so, and nothing changes.
	if err := a.apply("two", "{exemptions: ["+two+"}, "+one+", reason: mine now}]}"); !apierrors.IsConflict(err) {
		t.Errorf("want a conflict, got %v", err)
	} else {
		harness.MustContain(t, err.Error(), `conflict with "one"`, `.spec.exemptions[name="one"].reason`)
	}
	// So are the objects of an exemption, by kind and name.
	a.must("three", "{exemptions: [{name: two, objects: [{kind: ConfigMap, name: settings}]}]}")
	if objects := a.exempts("one", "two")["two"].Objects; len(objects) != 2 {
		t.Errorf("the objects of two owners: %+v", objects)
	}
	a.must("three", "{}")

	// What an owner no longer applies goes, and only that.
	a.must("one", "{}")
	if objects := a.exempts("two")["two"].Objects; len(objects) != 1 || objects[0].Kind != "Secret" {
		t.Errorf("the objects that are left: %+v", objects)
	}
	if a.admits(first, "no-more") || !a.admits(second, "still") {
		t.Error("the wrong exemption went")
	}
}
