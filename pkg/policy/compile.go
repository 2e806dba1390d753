package policy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/strictyaml"
)

// defaultGracePeriod is how old a token Secret may be without a token.
const defaultGracePeriod = 30 * time.Second

// Policy is a TokenPolicy ready for use. It is immutable.
type Policy struct {
	// Name of the TokenPolicy.
	Name string
	// Warnings tell what is legal but has no effect.
	Warnings []string

	dryRun         bool
	denyUnknown    bool
	templateAction v1alpha1.Action
	match          match
	rules          map[string]rule
	exemptions     []exemption
	selects        string // all parts of the match, in canonical form
	mutation       *Mutation
}

type rule struct {
	action     v1alpha1.Action
	parameters Parameters
}

// Compiler makes TokenPolicies ready for use with a table of checks. It may be
// used by several goroutines at once.
type Compiler struct {
	checks      []Check
	environment func() (*cel.Env, error) // made when the first condition needs it
}

// NewCompiler returns a compiler for a table of checks.
func NewCompiler(checks []Check) *Compiler {
	return &Compiler{checks: checks, environment: sync.OnceValues(newEnvironment)}
}

// Checks returns the table of checks.
func (c *Compiler) Checks() []Check { return c.checks }

// Compile makes a TokenPolicy ready for use. The errors name fields of the
// TokenPolicy and say what is allowed there; whoever takes policies from people
// refuses one that has any. The Policy is there all the same, for one that got
// past: without the checks and exemptions that can't be used, and where a part
// of its match (or the mode, or onUnknown) can't, it is unknown whether it
// matches what the rest of its match selects, and onUnknown decides.
func (c *Compiler) Compile(p *v1alpha1.TokenPolicy) (*Policy, field.ErrorList) {
	run := compilation{Compiler: c, out: &Policy{Name: p.Name, rules: map[string]rule{}}}
	spec := field.NewPath("spec")
	run.name(p.Name)
	run.match(spec, &p.Spec)
	before := len(run.errs)
	run.out.dryRun = run.oneOf(spec.Child("mode"), string(p.Spec.Mode), "Enforce", "DryRun") == "DryRun"
	run.out.denyUnknown = run.oneOf(spec.Child("onUnknown"), string(p.Spec.OnUnknown), "Allow", "Deny") == "Deny"
	run.out.match.broken = run.out.match.broken || len(run.errs) > before
	run.out.selects = selectsText(&run.out.match, p.Spec.MatchConditions)
	run.out.templateAction = v1alpha1.Action(run.oneOf(spec.Child("templateAction"), string(p.Spec.TemplateAction), "Warn", "Off", "Deny"))
	for i := range p.Spec.Checks {
		run.rule(spec.Child("checks").Index(i), &p.Spec.Checks[i])
	}
	run.mutate(spec.Child("mutate"), p.Spec.Mutate)
	for i := range p.Spec.Exemptions {
		run.exemption(spec.Child("exemptions").Index(i), &p.Spec.Exemptions[i])
	}
	if len(run.errs) == 0 {
		run.warnings(spec, p)
	}
	return run.out, run.errs
}

// compilation is one policy on its way.
type compilation struct {
	*Compiler
	out  *Policy
	errs field.ErrorList
}

func (c *compilation) fail(err *field.Error) { c.errs = append(c.errs, err) }

func (c *compilation) name(name string) {
	at := field.NewPath("metadata", "name")
	if name == "" {
		c.fail(field.Required(at, "a TokenPolicy needs a name"))
	} else if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		c.fail(field.Invalid(at, name, problems[0]))
	}
}

// oneOf returns the value, or the first of those allowed where it is empty.
func (c *compilation) oneOf(at *field.Path, value string, allowed ...string) string {
	if value == "" {
		return allowed[0]
	}
	if !slices.Contains(allowed, value) {
		c.fail(field.NotSupported(at, value, allowed))
	}
	return value
}

func (c *compilation) selector(at *field.Path, s *metav1.LabelSelector) labels.Selector {
	if s == nil || (len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0) {
		return nil
	}
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		c.fail(field.Invalid(at, field.OmitValueType{}, err.Error()))
		return nil // it selects all: a match with it is broken
	}
	return out
}

func (c *compilation) match(spec *field.Path, s *v1alpha1.TokenPolicySpec) {
	at, before := spec.Child("match"), len(c.errs)
	c.out.match = match{
		namespaces: c.selector(at.Child("namespaceSelector"), s.Match.NamespaceSelector),
		pods:       c.selector(at.Child("podSelector"), s.Match.PodSelector),
		accounts:   c.names(at.Child("serviceAccountNames"), s.Match.ServiceAccountNames, validation.IsDNS1123Subdomain),
	}
	c.out.match.broken = len(c.errs) > before
	c.conditions(spec.Child("matchConditions"), s.MatchConditions)
}

// names refuses what is no name, with a validator of apimachinery where names
// have a form. Empty ones match nothing and are always a mistake.
func (c *compilation) names(at *field.Path, names []string, valid func(string) []string) []string {
	for i, n := range names {
		if n == "" {
			c.fail(field.Required(at.Index(i), "must not be empty"))
		} else if problems := valid(n); len(problems) > 0 {
			c.fail(field.Invalid(at.Index(i), n, problems[0]))
		}
	}
	return names
}

func anyName(string) []string { return nil }

func (c *compilation) conditions(at *field.Path, conditions []v1alpha1.MatchCondition) {
	names := map[string]bool{}
	for i, m := range conditions {
		at := at.Index(i)
		if names[m.Name] {
			c.fail(field.Duplicate(at.Child("name"), m.Name))
		}
		names[m.Name] = true
		if m.Name == "" {
			c.fail(field.Required(at.Child("name"), "a condition needs a name"))
		} else if problems := validation.IsQualifiedName(m.Name); len(problems) > 0 {
			c.fail(field.Invalid(at.Child("name"), m.Name, problems[0]))
		}
		if m.Expression == "" {
			c.fail(field.Required(at.Child("expression"), "a condition needs a CEL expression"))
			c.out.match.broken = true
			continue
		}
		compiled, err := c.condition(&m)
		if err != nil {
			c.fail(field.Invalid(at.Child("expression"), field.OmitValueType{}, err.Error()))
			c.out.match.broken = true // a name alone does not break it
			continue
		}
		c.out.match.conditions = append(c.out.match.conditions, compiled)
	}
}

func (c *compilation) condition(m *v1alpha1.MatchCondition) (condition, error) {
	env, err := c.environment()
	if err != nil {
		return condition{}, err
	}
	return compileCondition(env, m.Name, m.Expression)
}

func (c *compilation) checkNamed(at *field.Path, name string) *Check {
	ids := make([]string, len(c.checks))
	for i := range c.checks {
		if c.checks[i].ID == name {
			return &c.checks[i]
		}
		ids[i] = c.checks[i].ID
	}
	detail := unknownCheck + "; known are " + strings.Join(ids, ", ")
	if word := strictyaml.Nearest(name, ids); word != "" {
		detail = fmt.Sprintf(unknownCheck+"; did you mean %q?", word)
	}
	c.fail(field.Invalid(at, name, detail))
	return nil
}

func (c *compilation) rule(at *field.Path, r *v1alpha1.CheckRule) {
	before := len(c.errs)
	check := c.checkNamed(at.Child("name"), r.Name)
	action := c.oneOf(at.Child("action"), string(r.Action), actionNames()...)
	if check == nil {
		return
	}
	if _, twice := c.out.rules[r.Name]; twice {
		c.fail(field.Duplicate(at.Child("name"), r.Name))
		return
	}
	if r.Action == "" {
		action = string(check.Default)
	}
	parameters := c.parameters(at.Child("parameters"), check, r.Parameters)
	if len(c.errs) == before {
		c.out.rules[r.Name] = rule{action: v1alpha1.Action(action), parameters: parameters}
	}
}

func actionNames() []string {
	var names []string
	for _, a := range v1alpha1.Actions() {
		names = append(names, string(a))
	}
	return names
}

func (c *compilation) parameters(at *field.Path, check *Check, p *v1alpha1.Parameters) Parameters {
	out := Parameters{}
	reads := func(name string) bool { return slices.Contains(check.Parameters, name) }
	if reads("gracePeriod") {
		out.GracePeriod = defaultGracePeriod
	}
	if p == nil {
		return out
	}
	if p.GracePeriod == nil {
		c.fail(field.Required(at, "leave parameters out, or give gracePeriod"))
		return out
	}
	switch d := p.GracePeriod.Duration; {
	case !reads("gracePeriod"):
		c.fail(field.Forbidden(at.Child("gracePeriod"), "the check "+check.ID+" has no such parameter"))
	case d < 0 || d > 24*time.Hour:
		c.fail(field.Invalid(at.Child("gracePeriod"), d.String(), "must be between 0s and 24h"))
	default:
		out.GracePeriod = d
	}
	return out
}

// IsUnknownCheck reports whether an error of Compile is about the name of a
// check that this version does not have.
func IsUnknownCheck(err *field.Error) bool { return strings.HasPrefix(err.Detail, unknownCheck) }

const unknownCheck = "unknown check"

func onlyUnknownChecks(errs field.ErrorList) bool {
	return !slices.ContainsFunc(errs, func(err *field.Error) bool { return !IsUnknownCheck(err) })
}
