package policy

import (
	"slices"
	"strconv"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
)

// Mutation is what one policy changes of the pods that it matches. Package
// rewrite turns it into a patch.
type Mutation struct {
	// Policy is the name of the TokenPolicy.
	Policy string
	// DryRun is set where the change is only to be recorded.
	DryRun bool
	// ServiceAccount is the account to set, or empty. Always sets it also where
	// the client named one.
	ServiceAccount string
	Always         bool
	// Automount is the automountServiceAccountToken to set, or nil.
	Automount *bool
	// Volumes says which volumes of token Secrets become projected ones; nil for
	// none.
	Volumes *TokenVolumes
	// Record writes what was changed onto the pod.
	Record bool
}

// TokenVolumes says which volumes of token Secrets become projected ones.
type TokenVolumes struct {
	// Missing includes those whose Secret is gone.
	Missing bool
	// ExpirationSeconds of the projected token.
	ExpirationSeconds int64
}

// defaultExpiration is what the ServiceAccount plugin asks for, and the one value
// that gets the API server's extended expiry for clients that read the token
// only once (k8s.io/kubernetes, pkg/serviceaccount/claims.go).
const defaultExpiration = 3607

// The API server's bounds for expirationSeconds (pkg/apis/core/validation).
const (
	minExpiration = 600
	maxExpiration = 1 << 32
)

// sets names the fields that a mutation sets, each with a text that tells apart
// what two policies can't both have. On which pods they act is no part of it.
func (m *Mutation) sets() map[string]string {
	if m == nil {
		return nil
	}
	out := map[string]string{}
	if m.ServiceAccount != "" {
		out["serviceAccount"] = m.ServiceAccount
	}
	if m.Automount != nil {
		out["automountServiceAccountToken"] = strconv.FormatBool(*m.Automount)
	}
	if m.Volumes != nil {
		out["longLivedTokenVolumes"] = strconv.FormatInt(m.Volumes.ExpirationSeconds, 10)
	}
	return out
}

// mutate compiles the changes. One that can't be used is left out.
func (c *compilation) mutate(at *field.Path, m *v1alpha1.Mutate) {
	if m == nil {
		return
	}
	if m.ServiceAccount == nil && m.AutomountServiceAccountToken == nil && m.LongLivedTokenVolumes == nil {
		c.fail(field.Required(at, "must have serviceAccount, automountServiceAccountToken or longLivedTokenVolumes"))
	}
	out := &Mutation{Policy: c.out.Name, Automount: m.AutomountServiceAccountToken, Record: m.RecordAnnotation}
	if sa := m.ServiceAccount; sa != nil {
		at, before := at.Child("serviceAccount"), len(c.errs)
		out.Always = c.oneOf(at.Child("when"), string(sa.When), "Unset", "Always") == "Always"
		if sa.Name == "" {
			c.fail(field.Required(at.Child("name"), "which account to set"))
		} else if problems := validation.IsDNS1123Subdomain(sa.Name); len(problems) > 0 {
			c.fail(field.Invalid(at.Child("name"), sa.Name, problems[0]))
		}
		if len(c.errs) == before {
			out.ServiceAccount = sa.Name
		}
	}
	if v := m.LongLivedTokenVolumes; v != nil {
		at, before := at.Child("longLivedTokenVolumes"), len(c.errs)
		volumes := &TokenVolumes{ExpirationSeconds: defaultExpiration}
		if v.Project == "" {
			c.fail(field.Required(at.Child("project"), "Existing or ExistingOrMissing"))
		}
		volumes.Missing = c.oneOf(at.Child("project"), string(v.Project), "Existing", "ExistingOrMissing") == "ExistingOrMissing"
		if s := v.ExpirationSeconds; s != nil {
			if volumes.ExpirationSeconds = *s; *s < minExpiration || *s > maxExpiration {
				c.fail(field.Invalid(at.Child("expirationSeconds"), *s, "must be between 600 and 4294967296"))
			}
		}
		if len(c.errs) == before {
			out.Volumes = volumes
		}
	}
	c.out.mutation = out
}

// Mutations is a search for the policies that change a pod.
type Mutations struct{ plan *Plan }

// Mutations starts the search. Only the creation of a pod is ever changed.
func (s *Snapshot) Mutations(r *Attributes) *Mutations {
	p := &Plan{snapshot: s, review: r, passed: s.passes(r)}
	switch {
	case p.passed != "":
	case r.Operation != admissionv1.Create || r.SubResource != "" || r.Pod.Template:
		p.passed = "pods are changed only when they are created"
	default:
		p.input = Input{Pod: *r.Pod, Namespace: r.Namespace, Now: r.Now}
		for _, policy := range s.policies {
			if policy.mutation != nil && policy.match.matchesPod(&p.input) {
				p.matched = append(p.matched, matched{policy: policy})
			}
		}
	}
	return &Mutations{plan: p}
}

// Passed names the rule by which the object is left alone, or is empty.
func (m *Mutations) Passed() string { return m.plan.passed }

// Needs returns the queries that must be answered before Of is called.
func (m *Mutations) Needs(set *facts.Set) []facts.Query {
	if m.plan.passed == "" && m.plan.asksNamespace() {
		return m.plan.openNamespace(set)
	}
	return nil
}

// Of returns what the policies that match want, in the order of their names. A
// policy of which it is unknown whether it matches changes nothing.
func (m *Mutations) Of(set *facts.Set) ([]Mutation, []Undecided) {
	if m.plan.passed != "" {
		return nil, nil
	}
	m.plan.settleMatches(set)
	var out []Mutation
	for _, matched := range m.plan.matched {
		if matched.state == facts.Present {
			mutation := *matched.policy.mutation
			mutation.DryRun = matched.policy.dryRun || m.plan.snapshot.options.DryRun
			out = append(out, mutation)
		}
	}
	return out, m.plan.undecided()
}

// undecided are the policies of which it is unknown whether they match.
func (p *Plan) undecided() []Undecided {
	var out []Undecided
	for _, m := range p.matched {
		if m.state == facts.Unknown {
			out = append(out, Undecided{Policy: m.policy.Name, Why: m.why})
		}
	}
	return out
}

// openNamespace asks for the namespace, unless it was answered.
func (p *Plan) openNamespace(set *facts.Set) []facts.Query {
	namespace := facts.Query{Object: p.namespace()}
	if f := set.Get(namespace.Object); f.State == facts.Unknown && f.Why == facts.NotAsked {
		return []facts.Query{namespace}
	}
	return nil
}

// settleMatches decides which policies match.
func (p *Plan) settleMatches(set *facts.Set) {
	namespace := set.Get(p.namespace())
	conditions := newConditions(&namespace, func() *Values {
		if p.review.Values == nil {
			return nil
		}
		return p.review.Values()
	})
	for i := range p.matched {
		m := &p.matched[i]
		m.state, m.why = m.policy.match.matches(&namespace, conditions)
	}
	p.matched = slices.DeleteFunc(p.matched, func(m matched) bool { return m.state == facts.Absent })
}
