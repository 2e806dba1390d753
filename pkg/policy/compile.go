package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

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
}

type rule struct {
	action     v1alpha1.Action
	parameters Parameters
}

type match struct {
	namespaces labels.Selector // nil selects all
	pods       labels.Selector // nil selects all
	accounts   []string
	// unsettled is set where conditions are given that can't be evaluated.
	unsettled bool
}

type exemption struct {
	checks, namespaces, accounts, objects, users, groups []string

	pods   labels.Selector // nil selects all
	until  time.Time       // zero: never ends
	reason string
}

// Compile makes a TokenPolicy ready for use with the given table of checks. The
// errors name fields of the TokenPolicy and say what is allowed there.
func Compile(p *v1alpha1.TokenPolicy, checks []Check) (*Policy, field.ErrorList) {
	c := compiler{checks: checks, out: &Policy{Name: p.Name, rules: map[string]rule{}}}
	spec := field.NewPath("spec")
	if p.Name == "" {
		c.fail(field.Required(field.NewPath("metadata", "name"), "a TokenPolicy needs a name"))
	} else if problems := validation.IsDNS1123Subdomain(p.Name); len(problems) > 0 {
		c.fail(field.Invalid(field.NewPath("metadata", "name"), p.Name, problems[0]))
	}
	c.out.dryRun = c.oneOf(spec.Child("mode"), string(p.Spec.Mode), "Enforce", "DryRun") == "DryRun"
	c.out.denyUnknown = c.oneOf(spec.Child("onUnknown"), string(p.Spec.OnUnknown), "Allow", "Deny") == "Deny"
	c.out.templateAction = v1alpha1.Action(c.oneOf(spec.Child("templateAction"), string(p.Spec.TemplateAction), "Warn", "Off", "Deny"))
	c.match(spec.Child("match"), &p.Spec.Match)
	c.conditions(spec.Child("matchConditions"), p.Spec.MatchConditions)
	for i := range p.Spec.Checks {
		c.rule(spec.Child("checks").Index(i), &p.Spec.Checks[i])
	}
	c.mutate(spec.Child("mutate"), p.Spec.Mutate)
	for i := range p.Spec.Exemptions {
		c.exemption(spec.Child("exemptions").Index(i), &p.Spec.Exemptions[i])
	}
	if len(c.errs) > 0 {
		return nil, c.errs
	}
	return c.out, nil
}

type compiler struct {
	checks []Check
	out    *Policy
	errs   field.ErrorList
}

func (c *compiler) fail(err *field.Error) { c.errs = append(c.errs, err) }

// oneOf returns the value, or the first of those allowed where it is empty.
func (c *compiler) oneOf(at *field.Path, value string, allowed ...string) string {
	if value == "" {
		return allowed[0]
	}
	if !slices.Contains(allowed, value) {
		c.fail(field.NotSupported(at, value, allowed))
	}
	return value
}

func (c *compiler) selector(at *field.Path, s *metav1.LabelSelector) labels.Selector {
	if s == nil || (len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0) {
		return nil
	}
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		c.fail(field.Invalid(at, metav1.FormatLabelSelector(s), err.Error()))
	}
	return out
}

func (c *compiler) match(at *field.Path, m *v1alpha1.Match) {
	c.out.match = match{
		namespaces: c.selector(at.Child("namespaceSelector"), m.NamespaceSelector),
		pods:       c.selector(at.Child("podSelector"), m.PodSelector),
		accounts:   c.names(at.Child("serviceAccountNames"), m.ServiceAccountNames),
	}
}

// names refuses empty strings: they match nothing and are always a mistake.
func (c *compiler) names(at *field.Path, names []string) []string {
	for i, n := range names {
		if n == "" {
			c.fail(field.Required(at.Index(i), "must not be empty"))
		}
	}
	return names
}

func (c *compiler) conditions(at *field.Path, conditions []v1alpha1.MatchCondition) {
	names := map[string]bool{}
	for i, m := range conditions {
		if names[m.Name] {
			c.fail(field.Duplicate(at.Index(i).Child("name"), m.Name))
		}
		names[m.Name] = true
		if m.Name == "" {
			c.fail(field.Required(at.Index(i).Child("name"), "a condition needs a name"))
		}
		if m.Expression == "" {
			c.fail(field.Required(at.Index(i).Child("expression"), "a condition needs a CEL expression"))
		}
	}
	if len(conditions) > 0 {
		c.out.match.unsettled = true
		c.out.Warnings = append(c.out.Warnings, at.String()+
			": this version does not evaluate CEL; whether the policy matches is unknown, and onUnknown decides")
	}
}

// laterChecks are names that policies may use already. They have no effect in
// this version, and Policy.Warnings says so.
func laterChecks() []string {
	return []string{
		"token-secret-populated", "token-secret-owner", "token-valid", "token-ca-current", "token-own-account",
		"token-long-lived", "token-in-environment", "token-default-account", "token-required",
	}
}

func (c *compiler) later(at *field.Path, name string) {
	c.out.Warnings = append(c.out.Warnings, at.String()+": this version does not have the check "+name+" yet; it has no effect")
}

func (c *compiler) checkNamed(at *field.Path, name string) *Check {
	ids := make([]string, len(c.checks))
	for i := range c.checks {
		if c.checks[i].ID == name {
			return &c.checks[i]
		}
		ids[i] = c.checks[i].ID
	}
	ids = append(ids, laterChecks()...)
	detail := "unknown check; known are " + strings.Join(ids, ", ")
	if word := strictyaml.Nearest(name, ids); word != "" {
		detail = fmt.Sprintf("unknown check; did you mean %q?", word)
	}
	c.fail(field.Invalid(at, name, detail))
	return nil
}

func (c *compiler) rule(at *field.Path, r *v1alpha1.CheckRule) {
	if slices.Contains(laterChecks(), r.Name) {
		c.later(at.Child("name"), r.Name)
		return
	}
	check := c.checkNamed(at.Child("name"), r.Name)
	action := c.oneOf(at.Child("action"), string(r.Action), "Off", "Audit", "Warn", "Deny")
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
	c.out.rules[r.Name] = rule{
		action:     v1alpha1.Action(action),
		parameters: c.parameters(at.Child("parameters"), check, r.Parameters),
	}
}

func (c *compiler) parameters(at *field.Path, check *Check, p *v1alpha1.Parameters) Parameters {
	out := Parameters{}
	reads := func(name string) bool { return slices.Contains(check.Parameters, name) }
	if reads("gracePeriod") {
		out.GracePeriod = defaultGracePeriod
	}
	if p == nil || p.GracePeriod == nil {
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

func (c *compiler) mutate(at *field.Path, m *v1alpha1.Mutate) {
	if m == nil {
		return
	}
	if sa := m.ServiceAccount; sa != nil {
		if sa.Name == "" {
			c.fail(field.Required(at.Child("serviceAccount", "name"), "which account to set"))
		} else if problems := validation.IsDNS1123Subdomain(sa.Name); len(problems) > 0 {
			c.fail(field.Invalid(at.Child("serviceAccount", "name"), sa.Name, problems[0]))
		}
		c.oneOf(at.Child("serviceAccount", "when"), string(sa.When), "Unset", "Always")
	}
	if v := m.LongLivedTokenVolumes; v != nil {
		if v.Project == "" {
			c.fail(field.Required(at.Child("longLivedTokenVolumes", "project"), "Existing or ExistingOrMissing"))
		}
		c.oneOf(at.Child("longLivedTokenVolumes", "project"), string(v.Project), "Existing", "ExistingOrMissing")
		// The bounds are the API server's (ValidatePodSpec, serviceAccountToken).
		if s := v.ExpirationSeconds; s != nil && (*s < 600 || *s > 1<<32) {
			c.fail(field.Invalid(at.Child("longLivedTokenVolumes", "expirationSeconds"), *s, "must be between 600 and 4294967296"))
		}
	}
	c.out.Warnings = append(c.out.Warnings, at.String()+": this version does not change pods; the field has no effect")
}

func (c *compiler) exemption(at *field.Path, e *v1alpha1.Exemption) {
	for i, name := range e.Checks {
		if slices.Contains(laterChecks(), name) {
			c.later(at.Child("checks").Index(i), name)
			continue
		}
		c.checkNamed(at.Child("checks").Index(i), name)
	}
	out := exemption{
		checks:     e.Checks,
		namespaces: c.names(at.Child("namespaces"), e.Namespaces),
		accounts:   c.names(at.Child("serviceAccountNames"), e.ServiceAccountNames),
		objects:    c.names(at.Child("objectNames"), e.ObjectNames),
		users:      c.names(at.Child("users"), e.Users),
		groups:     c.names(at.Child("groups"), e.Groups),
		pods:       c.selector(at.Child("podSelector"), e.PodSelector),
		reason:     e.Reason,
	}
	if e.Until != nil {
		out.until = e.Until.Time
	}
	if len(out.checks)+len(out.namespaces)+len(out.accounts)+len(out.objects)+len(out.users)+len(out.groups) == 0 && out.pods == nil {
		c.fail(field.Required(at, "an exemption must select something: checks, namespaces, podSelector, "+
			"serviceAccountNames, objectNames, users or groups; to try a policy out use mode: DryRun"))
	}
	c.out.exemptions = append(c.out.exemptions, out)
}
