package policy

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"
)

// Differing returns the policies that only one of two snapshots has. A policy
// that was compiled anew counts as another.
func Differing(a, b *Snapshot) []*Policy {
	var out []*Policy
	for _, pair := range [][2]*Snapshot{{a, b}, {b, a}} {
		for _, p := range pair[0].policies {
			if !slices.Contains(pair[1].policies, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// MaySelect reports whether the policy may match pods in a namespace with the
// given labels.
func (p *Policy) MaySelect(namespace map[string]string) bool {
	return p.match.namespaces == nil || p.match.namespaces.Matches(labels.Set(namespace))
}

// LooksAtWholePods reports whether a policy has conditions, which see all of a
// pod; the others see its labels and its spec alone.
func (s *Snapshot) LooksAtWholePods() bool {
	return slices.ContainsFunc(s.policies, func(p *Policy) bool { return len(p.match.conditions) > 0 })
}
