package policy

import (
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

// maxReason bounds the reason of an exemption, which goes into audit annotations.
const maxReason = 256

// exemption is one of a policy, ready for use.
type exemption struct {
	at                                                   string
	checks, namespaces, accounts, objects, users, groups []string

	pods   labels.Selector // nil selects all
	until  *time.Time      // nil: never ends
	reason string
}

func (c *compilation) exemption(at *field.Path, e *v1alpha1.Exemption) {
	before := len(c.errs)
	for i, name := range e.Checks {
		c.checkNamed(at.Child("checks").Index(i), name)
	}
	out := exemption{
		at:         at.String(),
		checks:     e.Checks,
		namespaces: c.names(at.Child("namespaces"), e.Namespaces, validation.IsDNS1123Label),
		accounts:   c.names(at.Child("serviceAccountNames"), e.ServiceAccountNames, validation.IsDNS1123Subdomain),
		objects:    c.names(at.Child("objectNames"), e.ObjectNames, anyName),
		users:      c.names(at.Child("users"), e.Users, anyName),
		groups:     c.names(at.Child("groups"), e.Groups, anyName),
		pods:       c.selector(at.Child("podSelector"), e.PodSelector),
		reason:     e.Reason,
	}
	if e.Until != nil {
		out.until = &e.Until.Time
	}
	if len(e.Reason) > maxReason {
		c.fail(field.TooLong(at.Child("reason"), "", maxReason))
	}
	if len(out.checks)+len(out.namespaces)+len(out.accounts)+len(out.objects)+len(out.users)+len(out.groups) == 0 && out.pods == nil && len(c.errs) == before {
		// Left out: to exempt nothing errs on the safe side.
		c.fail(field.Required(at, "an exemption must select something: checks, namespaces, podSelector, "+
			"serviceAccountNames, objectNames, users or groups; to try a policy out use mode: DryRun"))
		return
	}
	// One that names an unknown check, after a downgrade say, holds for the others.
	if len(c.errs) == before || onlyUnknownChecks(c.errs[before:]) {
		c.out.exemptions = append(c.out.exemptions, out)
	}
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
