package policy

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
)

// maxReason bounds the reason of an exemption, which goes into audit annotations.
const maxReason = 256

// exemption is one of a policy, ready for use.
type exemption struct {
	at, name string

	checks, namespaces, accounts, users, groups []string

	labels, pods labels.Selector // of the namespace and of the pod; nil selects all
	objects      []v1alpha1.ExemptObject
	until        *time.Time // nil: never ends
	reason       string
}

func (c *compilation) exemption(at *field.Path, e *v1alpha1.Exemption) {
	before := len(c.errs)
	c.exemptionName(at.Child("name"), e.Name)
	for i, name := range e.Checks {
		c.checkNamed(at.Child("checks").Index(i), name)
	}
	out := exemption{
		at:         at.String(),
		name:       e.Name,
		checks:     e.Checks,
		namespaces: c.names(at.Child("namespaces"), e.Namespaces, validation.IsDNS1123Label),
		accounts:   c.names(at.Child("serviceAccountNames"), e.ServiceAccountNames, validation.IsDNS1123Subdomain),
		objects:    c.exemptObjects(at.Child("objects"), e.Objects),
		users:      c.names(at.Child("users"), e.Users, anyName),
		groups:     c.names(at.Child("groups"), e.Groups, anyName),
		labels:     c.selector(at.Child("namespaceSelector"), e.NamespaceSelector),
		pods:       c.selector(at.Child("podSelector"), e.PodSelector),
		reason:     e.Reason,
	}
	if e.Until != nil {
		out.until = &e.Until.Time
	}
	if len(e.Reason) > maxReason {
		c.fail(field.TooLong(at.Child("reason"), "", maxReason))
	}
	if len(e.ObjectNames) > 0 {
		c.fail(field.Forbidden(at.Child("objectNames"), "has moved to objects, which have a kind: objects: [{kind: Secret, name: db}]"))
	}
	if out.selectsAll() && len(c.errs) == before {
		// Left out: to exempt nothing errs on the safe side.
		c.fail(field.Required(at, "an exemption must select something: checks, namespaces, namespaceSelector, podSelector, "+
			"serviceAccountNames, objects, users or groups; to try a policy out use mode: DryRun"))
		return
	}
	// One that names an unknown check, after a downgrade say, holds for the others.
	if len(c.errs) == before || onlyUnknownChecks(c.errs[before:]) {
		c.out.exemptions = append(c.out.exemptions, out)
	}
}

func (c *compilation) exemptionName(at *field.Path, name string) {
	known := func(e exemption) bool { return e.name == name }
	if name == "" {
		c.fail(field.Required(at, "an exemption needs a name, which metrics, conditions and records show"))
	} else if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		c.fail(field.Invalid(at, name, problems[0]))
	} else if slices.ContainsFunc(c.out.exemptions, known) {
		c.fail(field.Duplicate(at, name))
	}
}

func exemptKinds() []string {
	return []string{"Secret", "ConfigMap", "ServiceAccount", "ClusterTrustBundle", "SecretProviderClass"}
}

func (c *compilation) exemptObjects(at *field.Path, objects []v1alpha1.ExemptObject) []v1alpha1.ExemptObject {
	for i := range objects {
		o := &objects[i]
		if !slices.Contains(exemptKinds(), o.Kind) {
			c.fail(field.NotSupported(at.Index(i).Child("kind"), o.Kind, exemptKinds()))
		}
		if o.Name == "" {
			c.fail(field.Required(at.Index(i).Child("name"), "must not be empty"))
		}
		if slices.Contains(objects[:i], *o) {
			c.fail(field.Duplicate(at.Index(i), o.Kind+" "+o.Name))
		}
	}
	return objects
}

func (e *exemption) selectsAll() bool {
	return len(e.checks)+len(e.namespaces)+len(e.accounts)+len(e.objects)+len(e.users)+len(e.groups) == 0 && e.labels == nil && e.pods == nil
}

// Ending is an exemption that has ended, or ends soon.
type Ending struct {
	// Name of the exemption.
	Name string
	// At is when it ends.
	At time.Time
	// Ended is set where that is over.
	Ended bool
	field string
}

// Endings returns the exemptions of a policy that have ended, or will within the
// time given, in the order in which they are written.
func (p *Policy) Endings(now time.Time, within time.Duration) []Ending {
	var out []Ending
	for i := range p.exemptions {
		if e := &p.exemptions[i]; e.until != nil && !now.Add(within).Before(*e.until) {
			out = append(out, Ending{Name: e.name, At: e.until.UTC(), Ended: e.expired(now), field: e.at})
		}
	}
	return out
}

// Expired warns about exemptions that have ended.
func (p *Policy) Expired(now time.Time) []string {
	var out []string
	for _, e := range p.Endings(now, 0) {
		out = append(out, e.field+".until: the exemption "+quote(e.Name, 63)+" ended at "+e.At.Format(time.RFC3339)+"; it has no effect")
	}
	return out
}

func (e *exemption) expired(now time.Time) bool { return e.until != nil && !now.Before(*e.until) }

// holds tells whether the exemption holds for a pod and for who asks about it, as
// far as that does not depend on what is found.
func (e *exemption) holds(a *Attributes, namespace *facts.Fact) facts.State {
	anyOf := func(list []string, name string) bool { return len(list) == 0 || slices.Contains(list, name) }
	inGroup := func(g string) bool { return slices.Contains(a.UserInfo.Groups, g) }
	switch {
	case e.expired(a.Now), !anyOf(e.namespaces, a.Namespace), !anyOf(e.accounts, a.Pod.Spec.ServiceAccountName),
		!anyOf(e.users, a.UserInfo.Username), len(e.groups) > 0 && !slices.ContainsFunc(e.groups, inGroup),
		e.pods != nil && !e.pods.Matches(labels.Set(a.Pod.Labels)):
		return facts.Absent
	case e.labels == nil:
		return facts.Present
	case namespace.State != facts.Present:
		return facts.Unknown
	case e.labels.Matches(labels.Set(namespace.Labels)):
		return facts.Present
	}
	return facts.Absent
}

// covers reports whether an exemption that holds for the pod is for a finding.
func (e *exemption) covers(f *Finding) bool {
	return (len(e.checks) == 0 || slices.Contains(e.checks, f.Check)) && e.isAbout(string(f.Object.Kind), f.Object.Name)
}

// isAbout reports whether the exemption is for an object.
func (e *exemption) isAbout(kind, name string) bool {
	return len(e.objects) == 0 || slices.Contains(e.objects, v1alpha1.ExemptObject{Kind: kind, Name: name})
}

// record is how the exemption stands with what it brings down.
func (e *exemption) record() string {
	if e.reason == "" {
		return e.name
	}
	return e.name + ": " + e.reason
}
