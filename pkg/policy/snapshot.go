package policy

import (
	"slices"
	"strings"
	"time"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

// Options hold for all policies of a snapshot.
type Options struct {
	// DryRun records every decision and changes none, whatever policy takes it.
	DryRun bool
	// Namespaces to judge; all if empty.
	Namespaces []string
	// Hold is set where pods can be held; else Hold acts as Warn.
	Hold bool
	// HoldNever are namespaces where no pod is held, beside kube-system.
	HoldNever []string
	// WholeMessages leaves the messages of findings as long as they are. Reports are
	// not admission: they have room for names of any length.
	WholeMessages bool
}

// Snapshot is an immutable set of policies with the table of checks that they
// were compiled for. It may be used by many reviews at once.
type Snapshot struct {
	checks   []Check
	policies []*Policy
	options  Options
}

// NewSnapshot puts policies together, and the built-in one unless there is one of
// its name. Their order does not matter.
func NewSnapshot(checks []Check, policies []*Policy, options Options) *Snapshot {
	sorted := withDefault(checks, slices.Clone(policies))
	slices.SortFunc(sorted, func(a, b *Policy) int { return strings.Compare(a.Name, b.Name) })
	return &Snapshot{checks: checks, policies: sorted, options: options}
}

// Policies returns how many policies somebody wrote: the built-in one does not count.
func (s *Snapshot) Policies() int {
	n := len(s.policies)
	if slices.ContainsFunc(s.policies, func(p *Policy) bool { return p.builtIn }) {
		n--
	}
	return n
}

// ExpiredExemptions returns how many exemptions have ended.
func (s *Snapshot) ExpiredExemptions(now time.Time) int {
	n := 0
	for _, p := range s.policies {
		n += len(p.Expired(now))
	}
	return n
}

// Strictest returns the strongest action of any of the policy's checks.
func (p *Policy) Strictest() v1alpha1.Action {
	strictest := v1alpha1.None
	for _, r := range p.rules {
		strictest = v1alpha1.Stronger(strictest, r.action)
	}
	return strictest
}

// Differing returns the policies that only one of two snapshots has. A policy
// that was compiled anew counts as another.
func Differing(a, b *Snapshot) []*Policy {
	var out []*Policy
	for _, pair := range [][2]*Snapshot{{a, b}, {b, a}} {
		for _, p := range pair[0].policies {
			if !slices.ContainsFunc(pair[1].policies, p.standsFor) {
				out = append(out, p)
			}
		}
	}
	return out
}

// LooksAtWholePods reports whether a policy has conditions, which see all of a
// pod; the others see its labels and its spec alone.
func (s *Snapshot) LooksAtWholePods() bool {
	return slices.ContainsFunc(s.policies, func(p *Policy) bool { return len(p.match.conditions) > 0 })
}
