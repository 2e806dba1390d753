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
	// the other parts select is unknown. unusable is the first such condition.
	broken   bool
	unusable string
}

// selectsPod reports whether the parts of a match that look at the pod hold.
func (m *match) selectsPod(pod *workload.Pod) bool {
	return (m.pods == nil || m.pods.Matches(labels.Set(pod.Labels))) &&
		(len(m.accounts) == 0 || slices.Contains(m.accounts, pod.Spec.ServiceAccountName))
}

// looksAtPods reports whether the match is about pods alone: a Secret or an account
// that is written has neither labels nor fields of a pod.
func (m *match) looksAtPods() bool { return m.pods != nil || len(m.conditions) > 0 || m.broken }

// asksNamespace reports whether the match depends on the pod's namespace.
func (m *match) asksNamespace() bool {
	return m.namespaces != nil || slices.ContainsFunc(m.conditions, func(c condition) bool { return c.namespace })
}

// doubt is why it is unknown whether a policy matches.
type doubt struct {
	why string
	// caller is the reason, where it is the caller's own doing; costly is set where
	// the pod makes a condition too expensive, which is so, too.
	caller facts.Why
	costly bool
}

// mayNotWeaken reports whether the doubt is the caller's own doing, which must not
// decide what is enforced.
func (d *doubt) mayNotWeaken() bool { return d.costly || d.caller != facts.NoReason }

// code is the HTTP status of a refusal for the doubt.
func (d *doubt) code() int32 {
	if d.caller == facts.TooManyLookups {
		return TooManyRequests
	}
	return Forbidden
}

func (d *doubt) add(why string) {
	if d.why == "" {
		d.why = why
	}
}

// matches returns whether the rest holds, in three values: Present for yes,
// Absent for no. A part that is false excludes the policy, whatever is unknown.
func (m *match) matches(on *evaluation) (facts.State, doubt) {
	var unknown doubt
	if m.unusable != "" {
		unknown.add("condition " + quote(m.unusable, 60) + " does not compile")
	} else if m.broken {
		unknown.add("a part of its match does not compile")
	}
	if m.namespaces != nil {
		switch {
		case on.namespace.State != facts.Present:
			unknown.add("the labels of the namespace could not be read")
			if on.namespace.Why.IsCallersDoing() {
				unknown.caller = on.namespace.Why
			}
		case !m.namespaces.Matches(labels.Set(on.namespace.Labels)):
			return facts.Absent, doubt{}
		}
	}
	switch e := on.hold(m.conditions); e.state {
	case facts.Absent:
		return facts.Absent, doubt{}
	case facts.Unknown:
		unknown.add(e.why)
		unknown.costly = e.costly
		if on.namespace.Why.IsCallersDoing() && m.asksNamespace() {
			unknown.caller = on.namespace.Why
		}
	case facts.Present:
	}
	if unknown.why != "" {
		return facts.Unknown, unknown
	}
	return facts.Present, doubt{}
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
	// count as matching.
	policies []matched
	// undecided are those of which it is unknown, whether they count or not.
	undecided []Undecided
}

// matched is a policy that counts as matching.
type matched struct {
	policy *Policy
	// uncertain is set where it is unknown whether the policy matches.
	uncertain bool
	doubt
	exemptions []*exemption // that hold for the pod
}

// Undecided is a policy of which it is unknown whether it matches, or whether one
// of its exemptions holds.
type Undecided struct {
	Policy string `json:"policy"`
	Why    string `json:"why"`
}

// add takes a policy into account if it selects the pod.
func (m *matching) add(p *Policy) {
	if m.attributes.Written != nil && p.match.looksAtPods() {
		return
	}
	if p.match.selectsPod(m.attributes.Pod) {
		m.policies = append(m.policies, matched{policy: p})
	}
}

func (m *matching) namespace() facts.Object {
	return facts.Object{Kind: facts.Namespace, Name: m.attributes.Namespace}
}

// needs asks for the namespace if a match depends on it, unless it was answered.
func (m *matching) needs(set *facts.Set) []facts.Query {
	depends := slices.ContainsFunc(m.policies, func(one matched) bool { return one.policy.asksNamespace() })
	if !depends {
		return nil
	}
	namespace := facts.Query{Object: m.namespace()}
	if f := set.Get(namespace.Object); f.Asked() {
		return nil
	}
	return []facts.Query{namespace}
}

// settle decides which policies count as matching.
func (m *matching) settle(set *facts.Set) {
	namespace := set.Get(m.namespace())
	on := &evaluation{conditions: m.attributes.evaluations(), attributes: m.attributes, namespace: &namespace}
	var counting []matched
	for i := range m.policies {
		one := &m.policies[i]
		state, unknown := one.policy.match.matches(on)
		if state == facts.Absent {
			continue
		}
		one.uncertain, one.doubt = state == facts.Unknown, unknown
		if one.uncertain {
			m.undecided = append(m.undecided, Undecided{Policy: one.policy.Name, Why: one.why})
			if one.policy.ignoresFailures && !one.mayNotWeaken() {
				continue
			}
		}
		m.exempt(one, &namespace)
		counting = append(counting, *one)
	}
	m.policies = counting
}

// exempt finds the exemptions that hold for the pod. One of which that is unknown
// does not hold.
func (m *matching) exempt(one *matched, namespace *facts.Fact) {
	for i := range one.policy.exemptions {
		e := &one.policy.exemptions[i]
		switch e.holds(m.attributes, namespace) {
		case facts.Present:
			one.exemptions = append(one.exemptions, e)
		case facts.Unknown:
			m.undecided = append(m.undecided, Undecided{
				Policy: one.policy.Name, Why: "exemption " + quote(e.name, 63) + ": the labels of the namespace could not be read",
			})
		case facts.Absent:
		}
	}
}
