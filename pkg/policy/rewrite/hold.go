package rewrite

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
)

// ChangeHold is the change that holds a pod: it gets the gate and the label of
// Tokenward.
const ChangeHold = "hold"

const (
	gatesPath = "spec.schedulingGates"
	noHolding = "nobody releases pods just now"
)

// holding is the part of a plan that asks whether the pod, as changed, is to be held.
type holding struct {
	plan *policy.Plan // nil until the changes are known
}

// needsOfHolding asks for what tells whether the pod is to be held.
func (p *Plan) needsOfHolding(set *facts.Set, done *outcome) []facts.Query {
	if !p.snapshot.MayHold() || done.passed != "" || done.refusal != nil {
		return nil
	}
	if p.holding.plan == nil {
		p.holding.plan = p.snapshot.PlanHold(p.reviewOf(&done.draft))
	}
	return p.holding.plan.Needs(set)
}

// hold adds to a result what holds the pod.
func (p *Plan) hold(set *facts.Set, out *Result) {
	if p.holding.plan == nil || out.Refusal != nil {
		return
	}
	verdict := p.holding.plan.Judge(set)
	out.Would = append(out.Would, changesOf(verdict.Would)...)
	held := verdict.Held
	if len(held.For) == 0 || !verdict.Allowed {
		return
	}
	changes := changesOf(held.For)
	switch {
	case held.Holds:
		operations := holdOperations(p.review.Pod.Pod)
		if len(operations) > 0 {
			out.Changes = append(out.Changes, changes...)
		}
		out.Operations = append(out.Operations, operations...)
		out.Reinvoked = out.Reinvoked || policy.HasGate(p.review.Pod.Pod)
	case p.review.Hold != policy.WillHold && !p.review.DryRun:
		for i := range changes {
			changes[i].Left = noHolding
		}
		out.Left = append(out.Left, changes...)
	}
}

// changesOf names what holds a pod, one change for each policy.
func changesOf(findings []policy.Finding) []Change {
	var out []Change
	told := map[string]bool{}
	for i := range findings {
		for _, name := range findings[i].Policies {
			if !told[name] {
				told[name] = true
				out = append(out, Change{Policy: name, Change: ChangeHold, Path: gatesPath, To: policy.HoldGate})
			}
		}
	}
	return out
}

// holdOperations add the gate and the label to a pod, as far as it lacks them.
func holdOperations(pod *corev1.Pod) []Operation {
	var out []Operation
	gate := corev1.PodSchedulingGate{Name: policy.HoldGate}
	switch {
	case policy.HasGate(pod):
	case len(pod.Spec.SchedulingGates) == 0:
		out = append(out, Operation{Op: "add", Path: "/spec/schedulingGates", Value: []corev1.PodSchedulingGate{gate}})
	default:
		out = append(out, Operation{Op: "add", Path: "/spec/schedulingGates/-", Value: gate})
	}
	switch {
	case pod.Labels[policy.HeldLabel] == policy.HeldLabelValue:
	case len(pod.Labels) == 0:
		out = append(out, Operation{Op: "add", Path: "/metadata/labels", Value: map[string]string{policy.HeldLabel: policy.HeldLabelValue}})
	default:
		path := "/metadata/labels/" + strings.ReplaceAll(policy.HeldLabel, "/", "~1")
		out = append(out, Operation{Op: "add", Path: path, Value: policy.HeldLabelValue})
	}
	return out
}
