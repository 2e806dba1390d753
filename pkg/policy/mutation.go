package policy

import (
	"slices"
	"strconv"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
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

	exemptions []*exemption // that hold for the pod, and list no checks
}

// Exempts reports whether an exemption keeps the policy from making a change on
// account of an object.
func (m *Mutation) Exempts(kind reference.Kind, name string) bool {
	return slices.ContainsFunc(m.exemptions, func(e *exemption) bool { return e.isAbout(string(kind), name) })
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
	c.out.mutation = &Mutation{Policy: c.out.Name, Automount: m.AutomountServiceAccountToken, Record: m.RecordAnnotation}
	if m.ServiceAccount != nil {
		c.mutateAccount(at.Child("serviceAccount"), m.ServiceAccount)
	}
	if m.LongLivedTokenVolumes != nil {
		c.mutateVolumes(at.Child("longLivedTokenVolumes"), m.LongLivedTokenVolumes)
	}
}

func (c *compilation) mutateAccount(at *field.Path, m *v1alpha1.ServiceAccountMutation) {
	before := len(c.errs)
	c.out.mutation.Always = c.oneOf(at.Child("when"), string(m.When), "Unset", "Always") == "Always"
	if m.Name == "" {
		c.fail(field.Required(at.Child("name"), "which account to set"))
	} else if problems := validation.IsDNS1123Subdomain(m.Name); len(problems) > 0 {
		c.fail(field.Invalid(at.Child("name"), m.Name, problems[0]))
	}
	if len(c.errs) == before {
		c.out.mutation.ServiceAccount = m.Name
	}
}

func (c *compilation) mutateVolumes(at *field.Path, m *v1alpha1.LongLivedTokenVolumes) {
	before := len(c.errs)
	volumes := &TokenVolumes{ExpirationSeconds: defaultExpiration}
	if m.Project == "" {
		c.fail(field.Required(at.Child("project"), "Existing or ExistingOrMissing"))
	}
	volumes.Missing = c.oneOf(at.Child("project"), string(m.Project), "Existing", "ExistingOrMissing") == "ExistingOrMissing"
	if s := m.ExpirationSeconds; s != nil {
		if volumes.ExpirationSeconds = *s; *s < minExpiration || *s > maxExpiration {
			c.fail(field.Invalid(at.Child("expirationSeconds"), *s, "must be between 600 and 4294967296"))
		}
	}
	if len(c.errs) == before {
		c.out.mutation.Volumes = volumes
	}
}

// MutationPlan is the search for the policies that change a pod.
type MutationPlan struct {
	passed   string // the rule by which the pod is left alone
	dryRun   bool
	matching matching
}

// PlanMutations starts the search. Only the creation of a pod is ever changed.
func (s *Snapshot) PlanMutations(a *Attributes) *MutationPlan {
	p := &MutationPlan{passed: s.passes(a), dryRun: s.options.DryRun, matching: matching{attributes: a}}
	switch {
	case p.passed != "":
	case a.Operation != admissionv1.Create || a.SubResource != "" || a.Pod.Template:
		p.passed = "pods are changed only when they are created"
	default:
		for _, policy := range s.policies {
			if policy.mutation != nil {
				p.matching.add(policy)
			}
		}
	}
	return p
}

// Passed names the rule by which the object is left alone, or is empty.
func (p *MutationPlan) Passed() string { return p.passed }

// Needs returns the queries that must be answered before Mutations is called.
func (p *MutationPlan) Needs(set *facts.Set) []facts.Query {
	if p.passed != "" {
		return nil
	}
	return p.matching.needs(set)
}

// Changes are what the policies that match want.
type Changes struct {
	// Mutations are in the order of the policies' names.
	Mutations []Mutation
	// Undecided are policies of which it is unknown whether they match.
	Undecided []Undecided
	// Refusal is set where one of those must match for the pod to be let in.
	Refusal *Refusal
}

// Changes returns what the policies that match want. A policy of which it is unknown
// whether it matches changes nothing, and refuses the pod unless it says Ignore.
func (p *MutationPlan) Changes(set *facts.Set) Changes {
	if p.passed != "" {
		return Changes{}
	}
	p.matching.settle(set)
	out := Changes{Undecided: p.matching.undecided}
	for i := range p.matching.policies {
		one := &p.matching.policies[i]
		mutation := *one.policy.mutation
		mutation.DryRun = one.policy.dryRun || p.dryRun
		if mutation.exemptions = one.changeExemptions(); slices.ContainsFunc(mutation.exemptions, func(e *exemption) bool { return len(e.objects) == 0 }) {
			continue
		}
		switch {
		case !one.uncertain:
			out.Mutations = append(out.Mutations, mutation)
		case !mutation.DryRun && out.Refusal == nil:
			out.Refusal = one.refusal()
		}
	}
	return out
}

// changeExemptions returns the exemptions that keep the policy from changing pods.
func (m *matched) changeExemptions() []*exemption {
	var out []*exemption
	for _, e := range m.exemptions {
		if len(e.checks) == 0 {
			out = append(out, e)
		}
	}
	return out
}

// refusal is for a pod that a policy might change, where that can't be told.
func (m *matched) refusal() *Refusal {
	cure := "Mend the policy, or set its failurePolicy to Ignore."
	if m.mayNotWeaken() {
		cure = "Make the pod smaller, or try again."
	}
	return &Refusal{Code: m.code(), Message: Message(func(quote func(string) string) string {
		return "TokenPolicy " + quote(m.policy.Name) + " may change the pod, and whether it matches is unknown: " + m.why + ". " + cure
	})}
}
