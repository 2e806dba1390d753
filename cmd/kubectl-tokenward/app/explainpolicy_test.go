package app

import (
	"strings"
	"testing"

	"tokenward.dev/tokenward/pkg/policy"
)

func TestTheExampleOfATokenPolicyCompilesAndHasEveryField(t *testing.T) {
	if _, err := policy.NewCompiler(policy.Checks()).Parse("tokenpolicy.yaml", examplePolicy); err != nil {
		t.Fatal(err)
	}
	fields, err := policyFields()
	if err != nil {
		t.Fatal(err)
	}
	if len(fields) < 40 {
		t.Errorf("%d fields", len(fields))
	}
	for _, f := range fields {
		if f.example == nil || f.description == "" || f.values == "" {
			t.Errorf("%s: %+v", f.path, f)
		}
	}
}

func TestExplainTokenPolicy(t *testing.T) {
	all := command(t, "", "explain", "tokenpolicy")
	for _, want := range []string{
		"spec.checks[].action\n    (None, Audit, Warn, Hold, Deny; required)\n", `    Example: "Hold"`, "spec.failurePolicy\n    (Fail, Ignore; Fail if left out)\n",
		"\nAll together\napiVersion: tokenward.dev/v1alpha1\n",
	} {
		if all.status != exitClean || !strings.Contains(all.out, want) {
			t.Errorf("no %q in %s", want, all.out)
		}
	}
	if strings.Contains(all.out, "objectNames") || strings.Contains(all.out, "\nspec.onUnknown") {
		t.Errorf("fields that were moved are shown: %s", all.out)
	}
	for _, field := range []string{"tokenpolicy.spec.exemptions", "tokenpolicy.exemptions"} {
		r := command(t, "", "explain", field)
		if r.status != exitClean || !strings.HasPrefix(r.out, "spec.exemptions\n") || strings.Contains(r.out, "spec.checks[].action") {
			t.Errorf("%s: %+v", field, r)
		}
	}
}

// What is printed is a policy that anybody may write, and it is the one that is
// built in.
func TestExplainDefaultPolicy(t *testing.T) {
	r := command(t, "", "explain", "default-policy")
	policies, err := policy.NewCompiler(policy.Checks()).Parse("default.yaml", []byte(r.out))
	if err != nil || len(policies) != 1 || policies[0].Name != policy.DefaultName {
		t.Fatalf("%v, %v: %s", policies, err, r.out)
	}
	for _, c := range policy.Checks() {
		if !strings.Contains(r.out, "action: "+string(c.Default)+"\n    name: "+c.ID+"\n") {
			t.Errorf("%s does not lead to %s: %s", c.ID, c.Default, r.out)
		}
	}
	if strings.Contains(r.out, "status") {
		t.Errorf("it has a status: %s", r.out)
	}
}
