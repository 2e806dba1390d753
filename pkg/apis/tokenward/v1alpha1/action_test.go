package v1alpha1

import (
	"os"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

// The CRD lists the same actions in the same order, so that no other order can
// come into being.
func TestTheEnumOfTheCRDHasTheActionsInTheirOrder(t *testing.T) {
	text, err := os.ReadFile("../../../../config/crd/tokenward.dev_tokenpolicies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Enum       []string          `json:"enum"`
		Items      *schema           `json:"items"`
		Properties map[string]schema `json:"properties"`
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Name   string `json:"name"`
				Schema struct {
					OpenAPIV3Schema schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	for _, v := range crd.Spec.Versions {
		checks := v.Schema.OpenAPIV3Schema.Properties["spec"].Properties["checks"]
		if checks.Items == nil {
			t.Fatalf("%s: no spec.checks", v.Name)
		}
		var want []string
		for _, a := range Actions() {
			want = append(want, string(a))
		}
		if got := checks.Items.Properties["action"].Enum; !slices.Equal(got, want) {
			t.Errorf("%s: spec.checks[].action: %v, want %v", v.Name, got, want)
		}
		want = nil
		for _, a := range TemplateActions() {
			want = append(want, string(a))
			if Action(a).Strength() < 0 {
				t.Errorf("%s is no action", a)
			}
		}
		if got := v.Schema.OpenAPIV3Schema.Properties["spec"].Properties["templateAction"].Enum; !slices.Equal(got, want) {
			t.Errorf("%s: spec.templateAction: %v, want %v", v.Name, got, want)
		}
	}
}

func TestActionsAreOrdered(t *testing.T) {
	for i, a := range Actions() {
		if a.Strength() != i {
			t.Errorf("%s: strength %d, want %d", a, a.Strength(), i)
		}
		if !a.StrongerThan("") || !a.StrongerThan("deny") {
			t.Errorf("%s is not stronger than what is no action", a)
		}
		for j, b := range Actions() {
			if a.StrongerThan(b) != (i > j) || Stronger(a, b) != Actions()[max(i, j)] || Weaker(a, b) != Actions()[min(i, j)] {
				t.Errorf("%s and %s: %t, stronger %s, weaker %s", a, b, a.StrongerThan(b), Stronger(a, b), Weaker(a, b))
			}
		}
	}
}
