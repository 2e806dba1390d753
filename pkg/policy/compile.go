package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/environment"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/strictyaml"
)

// defaultGracePeriod is how old a token Secret may be without a token.
const defaultGracePeriod = 30 * time.Second

// Policy is a TokenPolicy ready for use. It is immutable.
type Policy struct {
	// Name of the TokenPolicy.
	Name string
	// Warnings tell what is legal but has no effect, or another than it seems.
	Warnings []string
	// ExpressionWarnings tell of conditions that do not fit a Pod, such as one that
	// names a field which no Pod has.
	ExpressionWarnings []string
	// Hold says how pods are held where a check of the policy has the action Hold.
	Hold Holding

	builtIn bool // nobody wrote it
	dryRun  bool
	// ignoresFailures is set where the policy does not count as matching where that
	// can't be told.
	ignoresFailures bool
	templateAction  v1alpha1.Action
	match           match
	rules           map[string]rule
	exemptions      []exemption
	selects         string // all parts of the match, in canonical form
	mutation        *Mutation
}

type rule struct {
	action      v1alpha1.Action
	parameters  Parameters
	denyUnknown bool
}

// Compiler makes TokenPolicies ready for use with a table of checks. It may be
// used by several goroutines at once.
type Compiler struct {
	checks       []Check
	environments func() (*environments, error) // made when the first condition needs them
	stored       bool
}

// NewCompiler returns a compiler for a table of checks, and for policies that
// somebody writes: conditions may use what the oldest version knows that may run
// beside this one.
func NewCompiler(checks []Check) *Compiler {
	return &Compiler{checks: checks, environments: sync.OnceValues(func() (*environments, error) {
		return newEnvironments(environment.DefaultCompatibilityVersion())
	})}
}

// Stored returns a compiler for policies that are stored: a newer version may have
// let them in.
func (c *Compiler) Stored() *Compiler {
	stored := *c
	stored.stored = true
	return &stored
}

// Checks returns the table of checks.
func (c *Compiler) Checks() []Check { return c.checks }

// Compile makes a TokenPolicy ready for use. The errors name fields of the
// TokenPolicy and say what is allowed there; whoever takes policies from people
// refuses one that has any. The Policy is there all the same, for one that got
// past: without the checks and exemptions that can't be used, and where a part
// of its match (or the mode) can't, it is unknown whether it matches what the rest
// of its match selects, and failurePolicy decides.
func (c *Compiler) Compile(p *v1alpha1.TokenPolicy) (*Policy, field.ErrorList) {
	run := compilation{Compiler: c, out: &Policy{Name: p.Name, rules: map[string]rule{}}}
	spec := field.NewPath("spec")
	run.name(p.Name)
	run.match(spec, &p.Spec)
	before := len(run.errs)
	run.out.dryRun = run.oneOf(spec.Child("mode"), string(p.Spec.Mode), "Enforce", "DryRun") == "DryRun"
	run.out.match.broken = run.out.match.broken || len(run.errs) > before
	run.out.selects = selectsText(&run.out.match, p.Spec.MatchConditions)
	run.out.ignoresFailures = run.oneOf(spec.Child("failurePolicy"), string(p.Spec.FailurePolicy), "Fail", "Ignore") == "Ignore"
	run.out.templateAction = v1alpha1.Action(run.oneOf(spec.Child("templateAction"), string(p.Spec.TemplateAction), "Warn", "None", "Audit", "Deny"))
	run.hold(spec.Child("hold"), p.Spec.Hold)
	if p.Spec.OnUnknown != "" {
		run.fail(field.Forbidden(spec.Child("onUnknown"), "has moved to spec.checks[].onUnknown: write it in each check that shall deny what is unknown"))
	}
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

// oneOf returns the value, or the first of those allowed where it is empty or none
// of them.
func (c *compilation) oneOf(at *field.Path, value string, allowed ...string) string {
	switch {
	case value == "":
	case slices.Contains(allowed, value):
		return value
	case value == "Off" && slices.Contains(allowed, string(v1alpha1.None)):
		c.fail(field.Invalid(at, value, `is now "None", since to YAML 1.1 a plain Off is false`))
	default:
		c.fail(field.NotSupported(at, value, allowed))
	}
	return allowed[0]
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
		compiled, err := c.condition(at.Child("expression"), &m)
		if err != nil {
			c.fail(field.Invalid(at.Child("expression"), field.OmitValueType{}, err.Error()))
			c.out.match.broken = true // a name alone does not break it
			c.out.match.unusable = cmp.Or(c.out.match.unusable, m.Name)
			continue
		}
		c.out.match.conditions = append(c.out.match.conditions, compiled)
	}
}

func (c *compilation) condition(at *field.Path, m *v1alpha1.MatchCondition) (condition, error) {
	all, err := c.environments()
	if err != nil {
		return condition{}, err
	}
	env := all.written
	if c.stored {
		env = all.stored
	}
	out, err := compileCondition(env, m.Name, m.Expression)
	if err != nil {
		return condition{}, err
	}
	if warning := all.typeWarning(m.Expression); warning != "" {
		c.out.ExpressionWarnings = append(c.out.ExpressionWarnings, at.String()+": "+warning)
	}
	return out, nil
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
	check := c.checkNamed(at.Child("name"), r.Name)
	before := len(c.errs)
	if r.Action == "" {
		c.fail(field.Required(at.Child("action"), "write what the check leads to: "+strings.Join(actionNames(), ", ")))
	}
	out := rule{
		action:      v1alpha1.Action(c.oneOf(at.Child("action"), string(r.Action), actionNames()...)),
		denyUnknown: c.oneOf(at.Child("onUnknown"), string(r.OnUnknown), "Allow", "Deny") == "Deny",
	}
	if check == nil {
		return
	}
	if _, twice := c.out.rules[r.Name]; twice {
		c.fail(field.Duplicate(at.Child("name"), r.Name))
		return
	}
	out.parameters = c.parameters(at.Child("parameters"), check, r.Parameters)
	if len(c.errs) > before {
		return
	}
	if c.out.rules[r.Name] = out; out.action == v1alpha1.Hold && !check.Waiting.mayHoldSome() {
		c.fail(field.Invalid(at.Child("action"), r.Action, "waiting does not heal what "+check.ID+" finds, or not for certain; held may be "+
			strings.Join(c.holdable(), ", ")+": write Warn or Deny"))
	}
}

// asksNamespace reports whether what the policy does depends on the pod's namespace.
func (p *Policy) asksNamespace() bool {
	return p.match.asksNamespace() || slices.ContainsFunc(p.exemptions, func(e exemption) bool { return e.labels != nil })
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
