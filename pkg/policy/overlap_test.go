package policy_test

import (
	"testing"

	"tokenward.dev/tokenward/pkg/policy"
)

func TestPoliciesOverlapWhereBothCannotHaveTheirWay(t *testing.T) {
	for name, tt := range map[string]struct {
		first, second string
		overlap       bool
	}{
		"other accounts":                {"serviceAccount: {name: a}", "serviceAccount: {name: b}", true},
		"one account, set more or less": {"serviceAccount: {name: a}", "serviceAccount: {name: a, when: Always}", false},
		"true and false":                {"automountServiceAccountToken: true", "automountServiceAccountToken: false", true},
		"twice the same":                {"automountServiceAccountToken: false", "automountServiceAccountToken: false", false},
		"other times":                   {"longLivedTokenVolumes: {project: Existing}", "longLivedTokenVolumes: {project: Existing, expirationSeconds: 7200}", true},
		"more volumes":                  {"longLivedTokenVolumes: {project: Existing}", "longLivedTokenVolumes: {project: ExistingOrMissing}", false},
		"other fields":                  {"serviceAccount: {name: a}", "automountServiceAccountToken: false", false},
	} {
		t.Run(name, func(t *testing.T) {
			const head = "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: "
			text := head + "p}\nspec: {mutate: {" + tt.first + "}}\n---\n" + head + "q}\nspec: {mutate: {" + tt.second + "}}\n"
			policies, err := policy.NewCompiler(policy.Checks()).Parse("policies.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			overlaps := policy.Overlaps(policies)
			if _, ok := overlaps["q"]; ok != tt.overlap || overlaps["p"] != "" {
				t.Errorf("%v", overlaps)
			}
		})
	}
}
