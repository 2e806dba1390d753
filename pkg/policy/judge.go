package policy

import (
	"slices"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
)

// ruling is a finding with what the policies made of it.
type ruling struct {
	finding Finding
	// would is the strongest action of policies in dry run, and theirs names.
	would         v1alpha1.Action
	wouldPolicies []string
	// holders are the policies that hold the pod for it; expired and exempted say
	// that one has held it for long enough, or has an exemption for it.
	holders           []*Policy
	expired, exempted bool
}

// Judge runs the checks over the facts and lets the policies decide.
func (p *Plan) Judge(set *facts.Set) Verdict {
	if p.passed != "" {
		return Verdict{Allowed: true, Passed: p.passed, Held: Held{End: EndExcluded}}
	}
	return p.verdict(p.rulings(set))
}

// rulings returns what was found, with what the policies make of it.
func (p *Plan) rulings(set *facts.Set) []ruling {
	if p.passed != "" {
		return nil
	}
	p.settle(set)
	p.useFacts(set)
	var rulings []ruling
	var places map[string]int // of the rulings of the check at hand, by path
	first := 0                // of them
	for i := range p.trials {
		again := i > 0 && p.trials[i].check == p.trials[i-1].check
		if !again {
			first, places = len(rulings), map[string]int{}
		}
		if rulings = p.try(&p.trials[i], rulings, places); again {
			p.inFieldOrder(rulings[first:])
			for j := first; j < len(rulings); j++ {
				places[rulings[j].finding.Path] = j
			}
		}
	}
	return rulings
}

// inFieldOrder sorts what trials of one check with different parameters found.
func (p *Plan) inFieldOrder(rulings []ruling) {
	fields := make(map[string]int, len(p.input.References))
	for i := range p.input.References {
		fields[p.input.References[i].Path] = i + 1 // 0 is no reference's
	}
	slices.SortStableFunc(rulings, func(a, b ruling) int { return fields[a.finding.Path] - fields[b.finding.Path] })
}

// try evaluates one trial. A finding that an earlier trial of the same check
// had, with other parameters, gets the stronger of the two rulings. places has the
// rulings of that check by path.
func (p *Plan) try(t *trial, rulings []ruling, places map[string]int) []ruling {
	p.input.Parameters, p.input.toldOfBound = t.parameters, false
	t.check.Find(&p.input, func(f Finding) {
		f.Check, f.Impact = t.check.ID, t.check.Impact
		if !p.snapshot.options.WholeMessages {
			f.Message = shorten(f.Check, f.Message)
		}
		if f.State == facts.Unknown && f.Why == facts.NoReason {
			f.Why = p.input.Facts.Get(f.Object).Why
		}
		r := p.rule(t.votes, f)
		if i, ok := places[f.Path]; ok {
			rulings[i].merge(&r)
			return
		}
		places[f.Path] = len(rulings)
		rulings = append(rulings, r)
	})
	return rulings
}

// rule lets every policy vote on a finding; the strictest decides.
func (p *Plan) rule(votes []vote, f Finding) ruling {
	r := ruling{finding: f, would: v1alpha1.None}
	r.finding.Action = v1alpha1.None
	for i := range votes {
		v := &votes[i]
		action, exempted := p.weigh(v, &f)
		if v.policy.dryRun {
			r.wouldDo(action, v.policy.Name)
		} else {
			r.hold(v, action, exempted)
			r.do(action, v.policy.Name, exempted)
		}
	}
	asked := p.holdOrWarn(r.finding.Action, &f)
	r.finding.Action, r.would = p.inEffect(asked, &f), p.holdOrWarn(r.would, &f)
	if most := p.attributes.AtMost; most != "" {
		asked, r.finding.Action = v1alpha1.Weaker(asked, most), v1alpha1.Weaker(r.finding.Action, most)
		r.would = v1alpha1.Weaker(r.would, most)
	}
	switch {
	case p.snapshot.options.DryRun:
		r.wouldDo(asked, r.finding.Policies...)
		r.finding.Action = v1alpha1.Weaker(r.finding.Action, v1alpha1.Audit)
	case p.attributes.DryRun && asked == v1alpha1.Hold:
		r.wouldDo(asked, r.finding.Policies...)
	}
	return r
}

// hold notes what a vote means to a pod that is held, or may be.
func (r *ruling) hold(v *vote, action v1alpha1.Action, exempted string) {
	switch {
	case v.action != v1alpha1.Hold:
	case exempted != "":
		r.exempted = true
	case action == v1alpha1.Hold:
		r.holders = append(r.holders, v.policy)
	case action == v1alpha1.Warn:
		r.expired = true
	}
}

// weigh returns the action of one vote on one finding, and the exemption that
// brought it down, if one did.
func (p *Plan) weigh(v *vote, f *Finding) (action v1alpha1.Action, exempted string) {
	action = v.action
	stays := action == v1alpha1.Hold && p.gated
	if stays && p.isOver(&v.policy.Hold) {
		action = v1alpha1.Warn
	}
	if p.attributes.Gone != nil && (f.State == facts.Unknown || v.uncertain) {
		action = v1alpha1.Weaker(action, v1alpha1.Warn) // no deletion is refused for what is unknown
	} else if f.State == facts.Unknown && !v.denyUnknown && !f.Why.IsCallersDoing() && !stays {
		action = v1alpha1.Weaker(action, v1alpha1.Audit)
	}
	if !action.StrongerThan(v1alpha1.Audit) {
		if f.Echo && v.policy.Name == DefaultName {
			return v1alpha1.None, ""
		}
		return action, ""
	}
	for _, e := range v.exemptions {
		if e.covers(f) {
			return v1alpha1.Audit, e.record()
		}
	}
	return action, ""
}

func (r *ruling) do(action v1alpha1.Action, policy, exempted string) {
	f := &r.finding
	switch {
	case action.StrongerThan(f.Action):
		f.Action, f.Policies, f.Exempted = action, nil, exempted
	case f.Action.StrongerThan(action) || action == v1alpha1.None:
		return
	}
	f.Policies = withName(f.Policies, policy)
	if f.Exempted == "" {
		f.Exempted = exempted
	}
}

func (r *ruling) wouldDo(action v1alpha1.Action, policies ...string) {
	switch {
	case action.StrongerThan(r.would):
		r.would, r.wouldPolicies = action, nil
	case r.would.StrongerThan(action) || action == v1alpha1.None:
		return
	}
	for _, name := range policies {
		r.wouldPolicies = withName(r.wouldPolicies, name)
	}
}

func (r *ruling) merge(o *ruling) {
	switch mine, other := r.finding.Action, o.finding.Action; {
	case other.StrongerThan(mine):
		r.finding = o.finding
	case other == mine:
		for _, name := range o.finding.Policies {
			r.finding.Policies = withName(r.finding.Policies, name)
		}
	}
	r.wouldDo(o.would, o.wouldPolicies...)
	r.holders = append(r.holders, o.holders...)
	r.expired, r.exempted = r.expired || o.expired, r.exempted || o.exempted
}

func withName(names []string, name string) []string {
	if name == "" || slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}
