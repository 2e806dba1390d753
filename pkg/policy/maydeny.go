package policy

import (
	"slices"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

// MayDeny reports whether any policy could refuse a pod in a namespace, or a template
// there. It does not look at what the policies select: it is for reviews that can't
// be judged, of which little is known.
func (s *Snapshot) MayDeny(namespace string, template bool) bool {
	if s.options.DryRun || (len(s.options.Namespaces) > 0 && !slices.Contains(s.options.Namespaces, namespace)) {
		return false
	}
	return slices.ContainsFunc(s.policies, func(p *Policy) bool {
		return !p.dryRun && s.strictest(p, OfPods) == v1alpha1.Deny && (!template || p.templateAction == v1alpha1.Deny)
	})
}

// strictest returns the strongest action of any of a policy's checks for a subject.
func (s *Snapshot) strictest(p *Policy, subject Subject) v1alpha1.Action {
	strictest := v1alpha1.None
	for i := range s.checks {
		if c := &s.checks[i]; c.Subject == subject {
			strictest = v1alpha1.Stronger(strictest, p.rules[c.ID].action)
		}
	}
	return strictest
}
