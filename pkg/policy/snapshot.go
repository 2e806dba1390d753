package policy

import (
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/labels"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
)

// Options hold for all policies of a snapshot.
type Options struct {
	// DryRun records every decision and changes none, built-in defaults included.
	DryRun bool
	// Namespaces to judge; all if empty.
	Namespaces []string
}

// Snapshot is an immutable set of policies with the table of checks that they
// were compiled for. It may be used by many reviews at once.
type Snapshot struct {
	checks   []Check
	policies []*Policy
	options  Options
}

// NewSnapshot puts policies together. Their order does not matter.
func NewSnapshot(checks []Check, policies []*Policy, options Options) *Snapshot {
	sorted := slices.Clone(policies)
	slices.SortFunc(sorted, func(a, b *Policy) int { return strings.Compare(a.Name, b.Name) })
	return &Snapshot{checks: checks, policies: sorted, options: options}
}

// Policies returns how many policies there are.
func (s *Snapshot) Policies() int { return len(s.policies) }

// ExpiredExemptions returns how many exemptions have ended.
func (s *Snapshot) ExpiredExemptions(now time.Time) int {
	n := 0
	for _, p := range s.policies {
		n += len(p.Expired(now))
	}
	return n
}

// matchesPod tells whether the parts of a match that look at the pod hold.
func (m *match) matchesPod(in *Input) bool {
	return (m.pods == nil || m.pods.Matches(labels.Set(in.Pod.Labels))) &&
		(len(m.accounts) == 0 || slices.Contains(m.accounts, in.Pod.Spec.ServiceAccountName))
}

// Expired warns about exemptions that have ended.
func (p *Policy) Expired(now time.Time) []string {
	var out []string
	for i := range p.exemptions {
		if e := &p.exemptions[i]; e.expired(now) {
			out = append(out, e.at+".until: the exemption ended at "+e.until.UTC().Format(time.RFC3339)+"; it has no effect")
		}
	}
	return out
}

// Strictest returns the strongest action of any of the policy's checks.
func (p *Policy) Strictest() v1alpha1.Action {
	strictest := v1alpha1.Off
	for _, r := range p.rules {
		strictest = v1alpha1.Stronger(strictest, r.action)
	}
	return strictest
}

// asksNamespace reports whether the match depends on the pod's namespace.
func (m *match) asksNamespace() bool {
	return m.namespaces != nil || slices.ContainsFunc(m.conditions, func(c condition) bool { return c.namespace })
}

// matches tells whether the rest holds, in three values: Present for yes,
// Absent for no. A part that is false excludes the policy, whatever is unknown;
// of what is unknown it tells the first.
func (m *match) matches(namespace *facts.Fact, conditions *conditions) (state facts.State, why string) {
	state = facts.Present
	unknown := func(text string) {
		if state = facts.Unknown; why == "" {
			why = text
		}
	}
	if m.broken {
		unknown("a part of its match does not compile")
	}
	if m.namespaces != nil {
		switch {
		case namespace.State != facts.Present:
			unknown("the labels of the namespace could not be read")
		case !m.namespaces.Matches(labels.Set(namespace.Labels)):
			return facts.Absent, ""
		}
	}
	switch hold, text := conditions.hold(m.conditions); hold {
	case facts.Absent:
		return facts.Absent, ""
	case facts.Unknown:
		unknown(text)
	case facts.Present:
	}
	return state, why
}

func (e *exemption) expired(now time.Time) bool { return e.until != nil && !now.Before(*e.until) }

// covers reports whether the exemption holds for a finding.
func (e *exemption) covers(f *Finding, in *Input, user *authenticationv1.UserInfo) bool {
	anyOf := func(list []string, name string) bool { return len(list) == 0 || slices.Contains(list, name) }
	return !e.expired(in.Now) &&
		anyOf(e.checks, f.Check) &&
		anyOf(e.namespaces, in.Namespace) &&
		anyOf(e.accounts, in.Pod.Spec.ServiceAccountName) &&
		anyOf(e.objects, f.Object.Name) &&
		anyOf(e.users, user.Username) &&
		(len(e.groups) == 0 || slices.ContainsFunc(e.groups, func(g string) bool { return slices.Contains(user.Groups, g) })) &&
		(e.pods == nil || e.pods.Matches(labels.Set(in.Pod.Labels)))
}
