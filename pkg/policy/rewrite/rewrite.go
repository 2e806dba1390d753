// Package rewrite turns what policies want to change of a pod into an explicit
// JSON Patch: each operation is built from a decision, never from the difference
// of two marshalled objects, so that fields which our types do not know stay.
//
// It is pure. Of ours it imports packages policy, facts, reference and workload;
// package policy never imports it.
package rewrite

import (
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/workload"
)

// maxPasses bounds how often the policies are asked again. A policy may select
// pods by what another one has set; more than a few links are a mistake.
const maxPasses = 8

// Plan is one review on its way to a patch.
type Plan struct {
	snapshot *policy.Snapshot
	review   *policy.Attributes
	owned    owned
	mounts   map[string][]corev1.VolumeMount // of all containers, by volume; nil until asked for
	enforced *outcome                        // of the latest Needs, if it is settled
	holding  holding
}

// New returns the plan of a review. Its pod must have the managedFields of the
// object, where there are any.
func New(s *policy.Snapshot, r *policy.Attributes) *Plan {
	p := &Plan{snapshot: s, review: r}
	r.ShareConditions()
	if r.Values != nil {
		// Policies are asked several times.
		once := *r
		once.Values, p.review = sync.OnceValue(r.Values), &once
	}
	if r.Pod != nil {
		p.owned.fields = r.Pod.ManagedFields
	}
	return p
}

// Result is what becomes of the pod.
type Result struct {
	// Passed names the rule by which the pod was left alone, or is empty.
	Passed string
	// Operations are the patch (RFC 6902); none if nothing is changed.
	Operations []Operation
	// Changes are made by the patch, Left could not be made, and Would are both
	// for policies in dry run.
	Changes, Left, Would []Change
	// Undecided are policies of which it is unknown whether they match.
	Undecided []policy.Undecided
	// Refusal is set where the pod is refused for one of those; nothing is changed.
	Refusal *policy.Refusal
	// Warnings for the person who made the request.
	Warnings []string
	// Reinvoked is set if the pod shows that it was changed here before, in the
	// same request.
	Reinvoked bool
}

// Needs returns the queries whose answers the patch needs, given those that it
// has. It is meant for facts.Collect.
func (p *Plan) Needs(set *facts.Set) []facts.Query {
	queries := facts.Queries{Asker: p.review.Namespace}
	enforced := p.run(set, queries.Ask, false)
	if p.enforced = nil; enforced.settled {
		p.enforced = &enforced // nothing new will be known of it
	}
	if enforced.dryRuns {
		p.run(set, queries.Ask, true)
	}
	if p.enforced != nil {
		for _, q := range p.needsOfHolding(set, p.enforced) {
			queries.Ask(q)
		}
	}
	return queries.List
}

// Result makes the patch.
func (p *Plan) Result(set *facts.Set) Result {
	none := func(facts.Query) {}
	if p.enforced == nil {
		enforced := p.run(set, none, false)
		p.enforced = &enforced
	}
	enforced := *p.enforced
	out := Result{
		Passed: enforced.passed, Undecided: enforced.undecided, Changes: enforced.allChanges(p.review.Pod), Left: enforced.left, Reinvoked: enforced.reinvoked,
		Refusal: enforced.refusal,
	}
	if p.review.Pod != nil {
		out.Operations = enforced.draft.operations(p.review.Pod.Pod)
	}
	if record := p.recordOf(&enforced, out.Operations); record != nil {
		out.Operations = append([]Operation{*record}, out.Operations...)
	}
	told := map[string]bool{"": true}
	for i := range out.Left {
		if w := out.Left[i].warning; !told[w] {
			told[w], out.Warnings = true, append(out.Warnings, w)
		}
	}
	out.Warnings = policy.FitWarnings(out.Warnings)
	if enforced.dryRuns {
		tried := p.run(set, none, true)
		for _, c := range slices.Concat(tried.allChanges(p.review.Pod), tried.left) {
			if c.dryRun {
				out.Would = append(out.Would, c)
			}
		}
	}
	p.hold(set, &out)
	return out
}

// outcome is what a run comes to.
type outcome struct {
	passed    string
	draft     draft
	changes   []Change
	left      []Change
	undecided []policy.Undecided
	refusal   *policy.Refusal
	by        []string        // policies that changed anything, the latest last
	records   map[string]bool // policies that want their changes on the pod
	reinvoked bool
	settled   bool // all that was asked is known, and nothing changes any more
	dryRuns   bool // whether a policy in dry run matches
}

// allChanges adds to the changes the volumes that are taken away.
func (o *outcome) allChanges(pod *workload.Pod) []Change {
	all := slices.Clone(o.changes)
	for _, i := range o.draft.removed {
		c := o.draft.removal
		c.Path, c.From = at("spec.volumes", i), pod.Spec.Volumes[i].Name
		all = append(all, c)
	}
	return all
}

// run lets the policies change the pod until nothing changes any more: those
// that match are asked again about the pod that they have made, so that the
// result does not depend on whether the API server invokes us once or twice.
func (p *Plan) run(set *facts.Set, ask func(facts.Query), dry bool) outcome {
	out := outcome{records: map[string]bool{}}
	if p.review.Pod == nil {
		out.passed = "the object stands for no pod"
		return out
	}
	out.draft.account = p.review.Pod.Spec.ServiceAccountName
	out.reinvoked = p.recorded()
	for range maxPasses {
		search := p.snapshot.PlanMutations(p.reviewOf(&out.draft))
		if out.passed = search.Passed(); out.passed != "" {
			return out
		}
		if open := search.Needs(set); len(open) > 0 {
			for _, q := range open {
				ask(q)
			}
			return out
		}
		one := pass{plan: p, set: set, ask: ask, draft: out.draft}
		one.draft.ownsProjected = false
		found := search.Changes(set)
		if out.undecided, out.refusal = found.Undecided, found.Refusal; found.Refusal != nil {
			return p.refused(out)
		}
		all := found.Mutations
		for i := range all {
			out.dryRuns = out.dryRuns || all[i].DryRun
			if dry || !all[i].DryRun {
				one.wants = append(one.wants, all[i])
				out.records[all[i].Policy] = all[i].Record
			}
		}
		one.run()
		if one.open {
			return out
		}
		out.left, out.reinvoked = one.leftWith(out.left), out.reinvoked || one.reinvoked
		if len(one.changes) == 0 && slices.Equal(one.draft.removed, out.draft.removed) {
			out.settled = true
			return out
		}
		out.changes = merge(out.changes, one.changes)
		for i := range one.changes {
			name := one.changes[i].Policy
			out.by = append(slices.DeleteFunc(out.by, func(by string) bool { return by == name }), name)
		}
		out.draft = one.draft
	}
	return p.unsettled(out)
}

// refused is for a pod of which it is unknown whether a policy would change it.
func (p *Plan) refused(out outcome) outcome {
	out.changes, out.left, out.settled = nil, nil, true
	out.draft = draft{account: p.review.Pod.Spec.ServiceAccountName}
	return out
}

// reviewOf returns the review of the pod as changed so far.
func (p *Plan) reviewOf(d *draft) *policy.Attributes {
	if !d.changed() {
		return p.review
	}
	review, pod := *p.review, *p.review.Pod
	typed := *pod.Pod
	typed.Spec.ServiceAccountName = d.account
	pod.Pod, review.Pod = &typed, &pod
	operations := d.operations(p.review.Pod.Pod)
	review.State = stateAfter(operations)
	review.Values = func() *policy.Values {
		if p.review.Values == nil {
			return nil
		}
		values := p.review.Values()
		if values == nil || values.Object == nil {
			return nil
		}
		changed := *values
		changed.Object = applied(values.Object, operations)
		return &changed
	}
	return &review
}

// pass is one look of all policies at the pod.
type pass struct {
	plan  *Plan
	set   *facts.Set
	ask   func(facts.Query)
	draft draft
	wants []policy.Mutation

	changes   []Change
	left      []Change
	open      bool // a fact is needed that nobody has asked for yet
	reinvoked bool
}

func (p *pass) pod() *corev1.Pod { return p.plan.review.Pod.Pod }

// run does volumes first: which are of the pod's own account is a question about
// the account before it is changed.
func (p *pass) run() {
	if len(p.wants) == 0 {
		return
	}
	p.projectVolumes()
	p.setAccount()
	p.removeTokenVolume(p.setAutomount())
}

// look returns what is known of an object, and asks for it.
func (p *pass) look(q facts.Query) facts.Fact {
	p.ask(q)
	f := p.set.Get(q.Object)
	p.open = p.open || !f.Asked() || (q.Contents && f.State == facts.Present && !f.Contents)
	return f
}

func (p *pass) namespace() string { return p.plan.review.Namespace }

func (p *pass) change(c Change, m *policy.Mutation) {
	c.Policy, c.dryRun = m.Policy, m.DryRun
	p.changes = append(p.changes, c)
}

// leave notes what a policy wants and does not get. warning is a line for the
// person who made the request, or empty where only administrators need know.
func (p *pass) leave(c Change, m *policy.Mutation, why, warning string) {
	c.Policy, c.dryRun, c.Left, c.warning = m.Policy, m.DryRun, why, warning
	p.left = append(p.left, c)
}

// leftWith returns what this look and those before it have left. An account, say,
// is not tried again once another policy's has been set.
func (p *pass) leftWith(before []Change) []Change {
	type wish struct{ policy, path string }
	wanted, settled := map[string]bool{}, map[wish]bool{}
	for i := range p.wants {
		wanted[p.wants[i].Policy] = true
	}
	for i := range p.left {
		settled[wish{p.left[i].Policy, p.left[i].Path}] = true
	}
	for i := range p.changes {
		settled[wish{"", p.changes[i].Path}] = true // whoever changed it
	}
	left := slices.Clone(p.left)
	for _, c := range before {
		if wanted[c.Policy] && !settled[wish{c.Policy, c.Path}] && !settled[wish{"", c.Path}] {
			left = append(left, c)
		}
	}
	return left
}

// conflict notes that an earlier policy has set a field otherwise.
func (p *pass) conflict(c Change, m, holder *policy.Mutation) {
	p.leave(c, m, conflictWith+holder.Policy, "")
}

// unsettled is for policies that undo each other's changes for ever.
func (p *Plan) unsettled(out outcome) outcome {
	out.left, out.changes = out.changes, nil
	out.draft = draft{account: p.review.Pod.Spec.ServiceAccountName}
	// Those that changed something last go round in circles.
	circle := slices.Sorted(slices.Values(out.by[max(0, len(out.by)-2):]))
	for i := range out.left {
		out.left[i].Left = "policies undo each other's changes"
		out.left[i].warning = policy.Message(func(quote func(string) string) string {
			return "TokenPolicies " + quote(circle[0]) + " and " + quote(circle[len(circle)-1]) + " undo each other's changes of the pod: " +
				"it is left as it is. Let them select different pods."
		})
	}
	return out
}
