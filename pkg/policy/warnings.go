package policy

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

// warnings adds to the policy warnings about what is legal and has no effect.
func (c *compilation) warnings(spec *field.Path, p *v1alpha1.TokenPolicy) {
	warn := func(at *field.Path, text string) {
		c.out.Warnings = append(c.out.Warnings, at.String()+": "+text)
	}
	if len(p.Spec.Checks) == 0 && p.Spec.Mutate == nil {
		if p.Name == DefaultName {
			warn(spec, "the policy has neither checks nor mutate: it takes the place of the built-in TokenPolicy default, and has no other effect")
		} else {
			warn(spec, "the policy has neither checks nor mutate; it has no effect")
		}
	}
	c.holdWarnings(spec, p, warn)
	c.out.Warnings = append(c.out.Warnings, c.out.ExpressionWarnings...)
	for _, s := range []struct {
		at       *field.Path
		selector labels.Selector
	}{
		{spec.Child("match", "namespaceSelector"), c.out.match.namespaces},
		{spec.Child("match", "podSelector"), c.out.match.pods},
	} {
		if key := contradiction(s.selector); key != "" {
			warn(s.at, fmt.Sprintf("no value of the label %q can fulfil all requirements; the policy matches nothing", key))
		}
	}
	for i := range c.out.match.conditions {
		if c.out.match.conditions[i].never {
			warn(spec.Child("matchConditions").Index(i), "the expression is always false; the policy matches nothing")
		}
	}
	for i := range p.Spec.Exemptions {
		for j, check := range p.Spec.Exemptions[i].Checks {
			listed := func(r v1alpha1.CheckRule) bool { return r.Name == check }
			if !slices.ContainsFunc(p.Spec.Checks, listed) {
				warn(spec.Child("exemptions").Index(i).Child("checks").Index(j),
					"the policy does not list "+check+", and an exemption acts within its own policy; it has no effect")
			}
		}
	}
}

// holdWarnings tell what of spec.hold has no effect, or another than it seems.
func (c *compilation) holdWarnings(spec *field.Path, p *v1alpha1.TokenPolicy, warn func(*field.Path, string)) {
	holds := len(c.out.Holds(c.checks)) > 0
	switch {
	case p.Spec.Hold != nil && !holds:
		warn(spec.Child("hold"), "no check has the action Hold; it has no effect")
	case holds && c.out.Hold.MaxDuration >= progressDeadline:
		warn(spec.Child("hold", "maxDuration"), "a Deployment gives up after 600 s unless its progressDeadlineSeconds says otherwise; hold pods for less")
	}
}

// contradiction returns a key on which the requirements of a selector exclude
// each other, or "".
func contradiction(s labels.Selector) string {
	if s == nil {
		return ""
	}
	requirements, _ := s.Requirements()
	for _, r := range requirements {
		switch r.Operator() {
		case selection.In, selection.Equals, selection.DoubleEquals:
			possible := func(value string) bool { return fulfils(requirements, r.Key(), labels.Set{r.Key(): value}) }
			if !slices.ContainsFunc(r.ValuesUnsorted(), possible) {
				return r.Key()
			}
		case selection.DoesNotExist:
			if !fulfils(requirements, r.Key(), labels.Set{}) {
				return r.Key()
			}
		default: // the others alone exclude no more than some values
		}
	}
	return ""
}

func fulfils(requirements labels.Requirements, key string, set labels.Set) bool {
	for i := range requirements {
		if requirements[i].Key() == key && !requirements[i].Matches(set) {
			return false
		}
	}
	return true
}
