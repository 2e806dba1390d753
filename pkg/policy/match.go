package policy

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/workload"
)

// match selects pods for one policy.
type match struct {
	namespaces labels.Selector // nil selects all
	pods       labels.Selector // nil selects all
	accounts   []string
	conditions []condition
	// broken is set where a part can't be used: whether the policy matches what
	// the other parts select is unknown.
	broken bool
}

// selectsPod reports whether the parts of a match that look at the pod hold.
func (m *match) selectsPod(pod *workload.Pod) bool {
	return (m.pods == nil || m.pods.Matches(labels.Set(pod.Labels))) &&
		(len(m.accounts) == 0 || slices.Contains(m.accounts, pod.Spec.ServiceAccountName))
}

// asksNamespace reports whether the match depends on the pod's namespace.
func (m *match) asksNamespace() bool {
	return m.namespaces != nil || slices.ContainsFunc(m.conditions, func(c condition) bool { return c.namespace })
}

// matches returns whether the rest holds, in three values: Present for yes,
// Absent for no. A part that is false excludes the policy, whatever is unknown;
// why is the first thing that is unknown.
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

// MaySelect reports whether the policy may match pods in a namespace with the
// given labels.
func (p *Policy) MaySelect(namespace map[string]string) bool {
	return p.match.namespaces == nil || p.match.namespaces.Matches(labels.Set(namespace))
}

// matching finds the policies that match one review, be it to judge the pod or
// to change it: first by the pod, then by its namespace and by conditions.
type matching struct {
	attributes *Attributes
	// policies whose match holds as far as the pod goes; after settle those that
	// match, or of which that is unknown.
	policies []matched
}

type matched struct {
	policy *Policy
	state  facts.State // Present or Unknown
	why    string      // it is unknown
}

// Undecided is a policy of which it is unknown whether it matches.
type Undecided struct {
	Policy string `json:"policy"`
	Why    string `json:"why"`
}

// add takes a policy into account if it selects the pod.
func (m *matching) add(p *Policy) {
	if p.match.selectsPod(m.attributes.Pod) {
		m.policies = append(m.policies, matched{policy: p})
	}
}

func (m *matching) namespace() facts.Object {
	return facts.Object{Kind: facts.Namespace, Name: m.attributes.Namespace}
}

// needs asks for the namespace if a match depends on it, unless it was answered.
func (m *matching) needs(set *facts.Set) []facts.Query {
	depends := slices.ContainsFunc(m.policies, func(one matched) bool { return one.policy.match.asksNamespace() })
	if !depends {
		return nil
	}
	namespace := facts.Query{Object: m.namespace()}
	if f := set.Get(namespace.Object); f.Asked() {
		return nil
	}
	return []facts.Query{namespace}
}

// settle decides which policies match.
func (m *matching) settle(set *facts.Set) {
	namespace := set.Get(m.namespace())
	conditions := newConditions(&namespace, func() *Values {
		if m.attributes.Values == nil {
			return nil
		}
		return m.attributes.Values()
	})
	for i := range m.policies {
		one := &m.policies[i]
		one.state, one.why = one.policy.match.matches(&namespace, conditions)
	}
	m.policies = slices.DeleteFunc(m.policies, func(one matched) bool { return one.state == facts.Absent })
}

// undecided returns the policies of which it is unknown whether they match.
func (m *matching) undecided() []Undecided {
	var out []Undecided
	for _, one := range m.policies {
		if one.state == facts.Unknown {
			out = append(out, Undecided{Policy: one.policy.Name, Why: one.why})
		}
	}
	return out
}
