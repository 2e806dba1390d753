package policy

import (
	"slices"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

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
	// called at most once, and only where a policy with conditions may match.
	Values func() *Values
	// AtMost is the strongest action that may come of it; Deny if empty.
	AtMost v1alpha1.Action
}

// Plan is one review on its way to a verdict.
type Plan struct {
	snapshot *Snapshot
	review   *Attributes
	passed   string // the rule that lets the object pass unjudged
	input    Input
	matched  []matched // policies whose match holds as far as the pod goes
	trials   []trial   // what to evaluate; nil until the policies are settled
	settled  bool
}

type matched struct {
	policy *Policy
	state  facts.State // Present or Unknown
	why    string      // it is unknown
}

// trial is one check with one set of parameters, and the policies that want it.
type trial struct {
	check      *Check
	parameters Parameters
	votes      []vote
}

// vote is what one policy, or the default, makes of the findings of a check.
type vote struct {
	policy      *Policy // nil for the default of the table
	action      v1alpha1.Action
	denyUnknown bool
	dryRun      bool
	uncertain   bool // whether the policy matches could not be found out
}

// Plan applies the rules of the game and finds the references to judge.
func (s *Snapshot) Plan(r *Attributes) *Plan {
	p := &Plan{snapshot: s, review: r, passed: s.passes(r)}
	if p.passed != "" {
		return p
	}
	p.input = Input{Pod: *r.Pod, Namespace: r.Namespace, Now: r.Now, References: reference.OfPod(r.Pod.Prefix, &r.Pod.Spec)}
	if r.Operation == admissionv1.Update && r.Old != nil {
		p.input.Old = r.Old
		reference.MarkUnchanged(p.input.References, reference.OfPod(r.Old.Prefix, &r.Old.Spec))
	}
	for _, policy := range s.policies {
		if policy.match.matchesPod(&p.input) {
			p.matched = append(p.matched, matched{policy: policy})
		}
	}
	return p
}

// passes names the rule by which an object is not judged at all, or "".
func (s *Snapshot) passes(r *Attributes) string {
	switch {
	case len(s.options.Namespaces) > 0 && !slices.Contains(s.options.Namespaces, r.Namespace):
		return "the namespace is not watched"
	case r.Pod == nil:
		return "the object stands for no pod"
	case r.Namespace == "":
		return "the object is in no namespace, and what its pods point at is in theirs"
	case r.Operation == admissionv1.Delete:
		return "deletion is never held up"
	case r.Operation == admissionv1.Connect:
		return "a connection changes no pod"
	case r.SubResource != "" && r.SubResource != "ephemeralcontainers":
		// status and resize carry pods whose references can't have changed;
		// binding and eviction carry no pods.
		return "the subresource can't change references"
	case !r.Pod.Template && isMirror(r.Pod.Pod):
		// The API server refuses mirror pods that use Secrets or an account
		// (ServiceAccount plugin), so that the annotation opens no way around.
		return "a mirror pod is the kubelet's"
	case r.Operation == admissionv1.Update && r.Pod.DeletionTimestamp != nil:
		// Else finalizers could not be removed.
		return "the object is being deleted"
	case r.Pod.Controlled:
		return "the template of the object's controller was judged"
	case r.Operation == admissionv1.Update && r.Pod.Template && r.Old != nil && sameTemplate(r.Pod, r.Old):
		// Scaling, pausing and status are never held up.
		return "the template did not change"
	}
	return ""
}

func isMirror(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

func sameTemplate(a, b *workload.Pod) bool {
	return equality.Semantic.DeepEqual(a.Labels, b.Labels) && equality.Semantic.DeepEqual(a.Annotations, b.Annotations) &&
		equality.Semantic.DeepEqual(a.Spec, b.Spec)
}

// Needs returns the queries whose answers the judgement needs, given those that
// it has. It is meant for facts.Collect: call it until it asks nothing new.
func (p *Plan) Needs(set *facts.Set) []facts.Query {
	if p.passed != "" {
		return nil
	}
	if p.asksNamespace() {
		if open := p.openNamespace(set); open != nil {
			return open
		}
	}
	p.settle(set)
	p.input.use(set)
	queries := facts.Queries{List: make([]facts.Query, 0, len(p.input.References))}
	ask := queries.Ask
	for i := range p.trials {
		p.input.Parameters = p.trials[i].parameters
		p.input.unknownDenies = slices.ContainsFunc(p.trials[i].votes, func(v vote) bool { return v.denyUnknown && !v.dryRun })
		p.trials[i].check.Needs(&p.input, ask)
	}
	return queries.List
}

func (p *Plan) namespace() facts.Object {
	return facts.Object{Kind: facts.Namespace, Name: p.review.Namespace}
}

func (p *Plan) asksNamespace() bool {
	return slices.ContainsFunc(p.matched, func(m matched) bool { return m.policy.match.asksNamespace() })
}

// settle decides which policies match and which checks they want.
func (p *Plan) settle(set *facts.Set) {
	if p.settled {
		return
	}
	p.settled = true
	p.settleMatches(set)
	for i := range p.snapshot.checks {
		p.trials = append(p.trials, p.trialsOf(&p.snapshot.checks[i])...)
	}
}

// trialsOf collects the votes on one check. With the default's vote comes the
// default; it counts only where no policy that is in force lists the check.
func (p *Plan) trialsOf(c *Check) []trial {
	var trials []trial
	cast := func(params Parameters, v vote) {
		if v.action == v1alpha1.Off {
			return
		}
		for i := range trials {
			if trials[i].parameters == params {
				trials[i].votes = append(trials[i].votes, v)
				return
			}
		}
		trials = append(trials, trial{check: c, parameters: params, votes: []vote{v}})
	}
	listed := false
	for _, m := range p.matched {
		r, ok := m.policy.rules[c.ID]
		if !ok {
			continue
		}
		v := vote{
			policy: m.policy, action: p.forTemplate(r.action, m.policy.templateAction),
			denyUnknown: m.policy.denyUnknown, dryRun: m.policy.dryRun, uncertain: m.state == facts.Unknown,
		}
		cast(r.parameters, v)
		// Of an uncertain policy it is not known that it lists the check.
		listed = listed || (!v.dryRun && !v.uncertain)
	}
	if !listed {
		cast(c.defaultParameters(), vote{action: p.forTemplate(c.Default, v1alpha1.Warn)})
	}
	return trials
}

func (p *Plan) forTemplate(action, most v1alpha1.Action) v1alpha1.Action {
	// Of what is only written down it counts what becomes of its pods.
	if p.input.Pod.Template && !p.input.Pod.Written {
		return weaker(action, most)
	}
	return action
}

func (c *Check) defaultParameters() Parameters {
	if slices.Contains(c.Parameters, "gracePeriod") {
		return Parameters{GracePeriod: defaultGracePeriod}
	}
	return Parameters{}
}
