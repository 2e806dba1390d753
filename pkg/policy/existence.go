package policy

import (
	"strings"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// existence is the common part of the checks that want a referenced object to
// exist.
type existence struct {
	id      string
	applies func(*reference.Reference) bool
	// cure of an absent object; "Create it, or correct the name." if nil.
	cure func(in *Input, r *reference.Reference, quote func(string) string) string
}

func (e existence) needs(in *Input, ask func(facts.Query)) {
	in.each(e.applies, func(r *reference.Reference) { e.needsOne(in, r, ask) })
}

func (existence) needsOne(in *Input, r *reference.Reference, ask func(facts.Query)) {
	ask(facts.Query{Object: in.object(r)})
	fact := in.fact(r)
	if r.Kind != reference.Secret || fact.State == facts.Present || !fact.Asked() {
		return
	}
	in.providers.wanted = true // a second question, now that the answer to the first is known
	if fact.State == facts.Absent && wasOwnToken(in, r) {
		ask(facts.Query{Object: tokenSecretsOf(in)})
	}
}

func (e existence) find(in *Input, report func(Finding)) {
	in.each(e.applies, func(r *reference.Reference) { e.findOne(in, r, report) })
}

func (e existence) findOne(in *Input, r *reference.Reference, report func(Finding)) {
	fact := in.fact(r)
	switch fact.State {
	case facts.Present:
	case facts.Unknown:
		if provided, _ := in.provided(r); provided != facts.Present {
			report(in.finding(r, r.Path, facts.Unknown, unknownText(r, r.Path, "it is", fact.Why)))
		}
	case facts.Absent:
		e.absent(in, r, report)
	}
}

// absent reports an absent object, unless something known will make it.
func (e existence) absent(in *Input, r *reference.Reference, report func(Finding)) {
	switch provided, class := in.provided(r); provided {
	case facts.Present:
	case facts.Unknown:
		why := in.Facts.Get(class).Why
		f := in.finding(r, r.Path, facts.Unknown, unknownProviderText(r, in.fact(r).Why, class, why))
		f.Why = why
		report(f)
	case facts.Absent:
		report(in.finding(r, r.Path, facts.Absent, missingText(r, in.fact(r).Why, func(quote func(string) string) string {
			if e.cure == nil {
				return "Create it, or correct the name."
			}
			return e.cure(in, r, quote)
		})))
	}
}

// providers are the SecretProviderClasses that containers mount, with what is known
// of them.
type providers struct {
	classes []facts.Object
	makes   map[string]bool // Secrets, by name
	// undecided is a class of which it is unknown what it makes; nil if there is none.
	undecided *facts.Object
	wanted    bool // a check wants to know
}

// findProviders finds the classes.
func (in *Input) findProviders() {
	seen := map[facts.Object]bool{}
	for i := range in.References {
		if r := &in.References[i]; r.Kind == reference.SecretProviderClass && !r.Unused && !seen[in.object(r)] {
			seen[in.object(r)] = true
			in.providers.classes = append(in.providers.classes, in.object(r))
		}
	}
}

// useFacts takes over what is known of the classes.
func (p *providers) useFacts(set *facts.Set) {
	if len(p.classes) == 0 {
		return
	}
	p.makes, p.undecided, p.wanted = map[string]bool{}, nil, false
	for i := range p.classes {
		f := set.Get(p.classes[i])
		if f.State == facts.Present {
			for _, name := range f.Names {
				p.makes[name] = true
			}
		}
		if (f.State == facts.Unknown || f.Why == facts.NotGiven) && p.undecided == nil {
			p.undecided = &p.classes[i]
		}
	}
}

// ask asks for the classes if a check wants to know.
func (p *providers) ask(ask func(facts.Query)) {
	if !p.wanted {
		return
	}
	for _, class := range p.classes {
		ask(facts.Query{Object: class})
	}
}

// provided returns whether something known makes a Secret when the pod starts:
// the Secrets Store CSI driver makes those that a mounted SecretProviderClass
// lists in secretObjects. Where that is unknown it returns the class.
func (in *Input) provided(r *reference.Reference) (facts.State, facts.Object) {
	switch p := &in.providers; {
	case r.Kind != reference.Secret || r.Nameless():
	case p.makes[r.Name]:
		return facts.Present, facts.Object{}
	case p.undecided != nil:
		return facts.Unknown, *p.undecided
	}
	return facts.Absent, facts.Object{}
}

// wasOwnToken reports whether the name is one that token Secrets of the pod's
// own account bear: ACCOUNT-token-xxxxx, as the token controller called them
// before Kubernetes 1.24, or ACCOUNT-token, as people do since.
func wasOwnToken(in *Input, r *reference.Reference) bool {
	suffix, ok := strings.CutPrefix(r.Name, in.Pod.Spec.ServiceAccountName+"-token")
	return ok && (suffix == "" || suffix[0] == '-')
}

func tokenSecretsOf(in *Input) facts.Object {
	return facts.Object{Kind: facts.TokenSecretsOf, Namespace: in.Namespace, Name: in.Pod.Spec.ServiceAccountName}
}
