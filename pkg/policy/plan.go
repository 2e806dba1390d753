package policy

import (
	"slices"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/workload"
)

// Attributes are what is to be judged.
type Attributes struct {
	Operation   admissionv1.Operation
	SubResource string
	UserInfo    authenticationv1.UserInfo
	// Now is the time of the judgement.
	Now time.Time
	// Namespace of the request: a pod may not carry it yet.
	Namespace string
	// Pod that the object stands for; nil where it stands for none.
	Pod *workload.Pod
	// Old is the same for the object before an UPDATE.
	Old *workload.Pod
	// Values returns what conditions see, or nil if that can't be told. It is
	// called at most once for each State, and only where a policy with conditions may
	// match.
	Values func() *Values
	// State tells apart the states that the pod goes through while it is changed;
	// empty for the pod as it came.
	State string
	// Done is closed when nobody waits for the answer any more; nil for never.
	Done <-chan struct{}
	// AtMost is the strongest action that may come of it; Deny if empty.
	AtMost v1alpha1.Action
	// Gone is the object as if which did not exist the pod is to be judged.
	Gone *Gone
	// Written is the Secret or account that is written. Pod then stands for its account.
	Written *Written
	// DryRun is set where the request itself changes nothing.
	DryRun bool
	// Hold says whether the pod can be held.
	Hold HoldMode

	evaluated *conditions
}

// ShareConditions makes copies of the attributes share the budget of their conditions,
// and what these have come to.
func (a *Attributes) ShareConditions() { a.evaluations() }

// evaluations returns what the conditions of this review have come to so far. Copies
// of the attributes that are made after the first call share it.
func (a *Attributes) evaluations() *conditions {
	if a.evaluated == nil {
		a.evaluated = newConditions(a.Done)
	}
	return a.evaluated
}

// Plan is one review on its way to a verdict.
type Plan struct {
	snapshot    *Snapshot
	attributes  *Attributes
	passed      string // the rule that lets the object pass unjudged
	matching    matching
	input       Input
	trials      []trial // what to evaluate; nil until the policies are settled
	settled     bool
	readSecrets bool // whether any of the trials reads Input.Secrets
	gated       bool // whether the pod is held
	neverHeld   string
	onlyHold    bool // whether only what pods are held for is judged
}

// trial is one check with one set of parameters, and the policies that want it.
type trial struct {
	check      *Check
	parameters Parameters
	votes      []vote
	// unknownDenies is set where one of them denies for what is unknown.
	unknownDenies bool
}

// vote is what one policy makes of the findings of a check.
type vote struct {
	*matched
	action      v1alpha1.Action
	denyUnknown bool
}

// Plan applies the rules of the game and finds the references to judge.
func (s *Snapshot) Plan(a *Attributes) *Plan {
	p := &Plan{snapshot: s, attributes: a, passed: s.passes(a), matching: matching{attributes: a}}
	if p.passed != "" {
		return p
	}
	p.gated = !a.Pod.Template && HasGate(a.Pod.Pod)
	p.neverHeld = s.neverHeld(a, p.gated)
	p.input = Input{Pod: *a.Pod, Namespace: a.Namespace, Now: a.Now, References: reference.OfPod(a.Pod.Prefix, &a.Pod.Spec)}
	if p.input.Gone, p.input.Written = a.Gone, a.Written; a.Gone != nil {
		p.input.References = a.Gone.onlyOf(p.input.References)
	}
	p.input.findProviders()
	if a.Operation == admissionv1.Update && a.Old != nil {
		p.input.Old = a.Old
		reference.MarkUnchanged(p.input.References, reference.OfPod(a.Old.Prefix, &a.Old.Spec))
	}
	for _, policy := range s.policies {
		p.matching.add(policy)
	}
	return p
}

// PlanHold is a Plan of those checks alone that a policy holds pods for.
func (s *Snapshot) PlanHold(a *Attributes) *Plan {
	p := s.Plan(a)
	p.onlyHold = true
	return p
}

// Needs returns the queries whose answers the judgement needs, given those that
// it has. It is meant for facts.Collect: call it until it asks nothing new.
func (p *Plan) Needs(set *facts.Set) []facts.Query {
	if p.passed != "" {
		return nil
	}
	if open := p.matching.needs(set); open != nil {
		return open
	}
	p.settle(set)
	p.useFacts(set)
	p.input.toldOfBound = true
	queries := facts.Queries{Asker: p.input.Namespace, List: make([]facts.Query, 0, len(p.input.References))}
	ask := queries.Ask
	read := false // whether the contents of Secrets were asked for
	for i := range p.trials {
		t := &p.trials[i]
		if t.check.ReadsSecrets && !read {
			read = true
			p.input.askSecrets(ask, p.refusesByContents())
		}
		p.input.Parameters, p.input.UnknownDenies = t.parameters, t.unknownDenies
		if t.check.Needs != nil {
			t.check.Needs(&p.input, ask)
		}
	}
	p.input.providers.ask(ask)
	return queries.List
}

// refusesByContents reports whether a policy refuses pods for what Secrets hold.
func (p *Plan) refusesByContents() bool {
	return slices.ContainsFunc(p.trials, func(t trial) bool {
		return t.check.ReadsSecrets && slices.ContainsFunc(t.votes, func(v vote) bool { return v.action.StrongerThan(v1alpha1.Warn) })
	})
}

// settle decides which policies match and which checks they want.
func (p *Plan) settle(set *facts.Set) {
	if p.settled {
		return
	}
	p.settled = true
	p.matching.settle(set)
	for i := range p.snapshot.checks {
		if c := &p.snapshot.checks[i]; c.Subject == p.attributes.subject() {
			p.trials = append(p.trials, p.trialsOf(c)...)
		}
	}
	if p.onlyHold {
		p.trials = holdOnly(p.trials)
	}
	for i := range p.trials {
		t := &p.trials[i]
		t.unknownDenies = slices.ContainsFunc(t.votes, func(v vote) bool { return v.denyUnknown && !v.policy.dryRun })
		p.readSecrets = p.readSecrets || t.check.ReadsSecrets
	}
}

// useFacts puts into the input what is known now.
func (p *Plan) useFacts(set *facts.Set) {
	p.input.Facts, p.input.toldOfBound = set, false
	p.input.providers.useFacts(set)
	if p.readSecrets {
		p.input.Secrets = p.input.usedSecrets(p.input.Secrets[:0])
	}
}

// trialsOf collects the votes on one check.
func (p *Plan) trialsOf(c *Check) []trial {
	var trials []trial
	for i := range p.matching.policies {
		m := &p.matching.policies[i]
		r, ok := m.policy.rules[c.ID]
		if !ok {
			continue
		}
		v := vote{matched: m, action: p.forTemplate(r.action, m.policy.templateAction), denyUnknown: r.denyUnknown}
		if v.action == v1alpha1.None {
			continue
		}
		same := func(t trial) bool { return t.parameters == r.parameters }
		if at := slices.IndexFunc(trials, same); at >= 0 {
			trials[at].votes = append(trials[at].votes, v)
		} else {
			trials = append(trials, trial{check: c, parameters: r.parameters, votes: []vote{v}})
		}
	}
	return trials
}

func (p *Plan) forTemplate(action, most v1alpha1.Action) v1alpha1.Action {
	// For a manifest, the action on its pods applies.
	if p.input.Pod.Template && !p.input.Pod.Written && p.attributes.Gone == nil {
		return v1alpha1.Weaker(action, most)
	}
	return action
}
