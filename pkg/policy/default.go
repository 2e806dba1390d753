package policy

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

// DefaultName is the name of the policy that is built in until somebody writes one
// of that name.
const DefaultName = "default"

// Default returns the built-in policy: for all pods, each check leads to what the
// table says.
func Default(checks []Check) *v1alpha1.TokenPolicy {
	p := &v1alpha1.TokenPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.TokenPolicyKind},
		ObjectMeta: metav1.ObjectMeta{Name: DefaultName},
		Spec: v1alpha1.TokenPolicySpec{
			Mode: v1alpha1.Enforce, FailurePolicy: v1alpha1.Fail, TemplateAction: v1alpha1.TemplateWarn,
		},
	}
	for i := range checks {
		p.Spec.Checks = append(p.Spec.Checks, v1alpha1.CheckRule{
			Name: checks[i].ID, Action: checks[i].Default, OnUnknown: v1alpha1.AllowUnknown,
		})
	}
	return p
}

// withDefault adds the built-in policy, unless there is one of its name. It does not
// stand for a TokenPolicy that anybody wrote: see Snapshot.Policies.
func withDefault(checks []Check, policies []*Policy) []*Policy {
	for _, p := range policies {
		if p.Name == DefaultName {
			return policies
		}
	}
	// A check that the table has always compiles: TestTheDefaultPolicyCompiles.
	compiled, _ := NewCompiler(checks).Compile(Default(checks))
	compiled.builtIn = true
	return append(policies, compiled)
}

// standsFor reports whether two policies are the same: built in twice, or compiled
// once.
func (p *Policy) standsFor(other *Policy) bool { return p == other || (p.builtIn && other.builtIn) }
