package policy

import (
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
)

// What a held pod has: the scheduling gate that holds it, and the label by which it
// is found.
const (
	HoldGate       = "tokenward.dev/hold"
	HeldLabel      = "tokenward.dev/held"
	HeldLabelValue = "true"
)

// Holding says how pods are held.
type Holding struct {
	// MaxDuration is how long a pod is held at most.
	MaxDuration time.Duration
	// Keep is set where a pod stays held after that.
	Keep bool
}

// The bounds of MaxDuration, and what holds where a policy says nothing.
const (
	defaultMaxHold = 5 * time.Minute
	minMaxHold     = time.Second
	maxMaxHold     = 24 * time.Hour
	// progressDeadline is that of a Deployment which sets none.
	progressDeadline = 600 * time.Second
)

func (c *compilation) hold(at *field.Path, h *v1alpha1.HoldOptions) {
	c.out.Hold = Holding{MaxDuration: defaultMaxHold}
	if h == nil {
		return
	}
	c.out.Hold.Keep = c.oneOf(at.Child("onExpiry"), string(h.OnExpiry), "Release", "Keep") == "Keep"
	if h.MaxDuration == nil {
		return
	}
	if d := h.MaxDuration.Duration; d < minMaxHold || d > maxMaxHold {
		c.fail(field.Invalid(at.Child("maxDuration"), d.String(), "must be between 1s and 24h"))
	} else {
		c.out.Hold.MaxDuration = d
	}
}

// holdable returns the ids of the checks that may have the action Hold.
func (c *Compiler) holdable() []string {
	var out []string
	for i := range c.checks {
		if c.checks[i].Waiting.mayHoldSome() {
			out = append(out, c.checks[i].ID)
		}
	}
	return out
}

// Holds returns the checks that have the action Hold, in the order of the table.
func (p *Policy) Holds(checks []Check) []string {
	var out []string
	for i := range checks {
		if p.rules[checks[i].ID].action == v1alpha1.Hold {
			out = append(out, checks[i].ID)
		}
	}
	return out
}

// MayHold reports whether a policy asks for pods to be held, and they can be.
func (s *Snapshot) MayHold() bool {
	return s.options.Hold && slices.ContainsFunc(s.policies, func(p *Policy) bool { return len(p.Holds(s.checks)) > 0 })
}

// HoldsPods reports whether pods can be held at all.
func (s *Snapshot) HoldsPods() bool { return s.options.Hold }

// HoldMode says whether the pod of a review can be held.
type HoldMode uint8

// The modes. A pod that has the gate is held in each of them.
const (
	// NotHeld: Hold acts as Warn.
	NotHeld HoldMode = iota
	// WillHold: the pod gets the gate where a finding asks for that.
	WillHold
)

// Held is what becomes of a pod as far as holding it goes.
type Held struct {
	// Holds is set where the pod is held, or is to be, as Holding says.
	Holds bool
	Holding
	// Would is set where it is not held only since nothing may be changed.
	Would bool
	// For are the findings that it waits for, with the policies that ask for that.
	For []Finding
	// End is why it is not held.
	End HoldEnd
}

// HoldEnd is why a pod is not held, or no longer. It is a closed set: it labels metrics.
type HoldEnd string

// The reasons.
const (
	EndFound    HoldEnd = "found"    // nothing is missing that any policy holds pods for
	EndPolicy   HoldEnd = "policy"   // no policy asks for it
	EndExempted HoldEnd = "exempted" // an exemption covers what is missing
	EndExpired  HoldEnd = "expired"  // it was held for as long as the policies say
	EndExcluded HoldEnd = "excluded" // such a pod is never held
)

// HasGate reports whether a pod has the gate of Tokenward.
func HasGate(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.SchedulingGates, func(g corev1.PodSchedulingGate) bool { return g.Name == HoldGate })
}

// neverHeld says why no pod like that of a review is ever held; empty if it may be.
func (s *Snapshot) neverHeld(a *Attributes, gated bool) string {
	switch {
	case !s.options.Hold:
		return "pods are not held"
	case a.Pod.Template && !a.Pod.Written:
		return "a template is no pod"
	case a.Namespace == metav1.NamespaceSystem || slices.Contains(s.options.HoldNever, a.Namespace):
		return "what the cluster needs is never held"
	case a.Pod.Spec.NodeName != "":
		return "the pod has a node"
	case strings.HasPrefix(a.Pod.Spec.PriorityClassName, "system-"):
		return "the pod is critical to the cluster"
	case !gated && (a.Operation != admissionv1.Create || a.SubResource != ""):
		return "gates are set at creation only"
	}
	return ""
}

// mayHold reports whether the pod may be held for a finding: only for what is absent,
// or at fault, for certain. A pod that is held stays so while that is unknown.
func (p *Plan) mayHold(f *Finding) bool {
	if p.neverHeld != "" || (f.Object.Name == "" && f.Object.SignerName == "") {
		return false
	}
	if f.State == facts.Unknown {
		return p.gated && f.Waiting.mayHoldSome()
	}
	secret := p.input.Facts.Get(f.Object).Secret
	return f.Waiting.MayHold(secret != nil && secret.TokenSecret)
}

// holdOrWarn returns what an action comes to where nothing stands against holding the pod
// but, perhaps, that nothing may be changed.
func (p *Plan) holdOrWarn(action v1alpha1.Action, f *Finding) v1alpha1.Action {
	if action == v1alpha1.Hold && !p.mayHold(f) {
		return v1alpha1.Warn
	}
	return action
}

// inEffect returns what an action comes to.
func (p *Plan) inEffect(action v1alpha1.Action, f *Finding) v1alpha1.Action {
	action = p.holdOrWarn(action, f)
	if action == v1alpha1.Hold && !p.gated && (p.attributes.Hold != WillHold || p.attributes.DryRun) {
		return v1alpha1.Warn
	}
	return action
}

// isOver reports whether the policy has held the pod for long enough.
func (p *Plan) isOver(h *Holding) bool {
	created := p.attributes.Pod.CreationTimestamp
	return p.gated && !h.Keep && !created.IsZero() && !p.attributes.Now.Before(created.Add(h.MaxDuration))
}

// held sums up what the rulings say of holding the pod.
func (p *Plan) held(rulings []ruling) Held {
	var out Held
	expired, exempted := false, false
	for i := range rulings {
		r := &rulings[i]
		expired, exempted = expired || r.expired, exempted || r.exempted
		if len(r.holders) == 0 || !p.mayHold(&r.finding) {
			continue
		}
		f := r.finding
		f.Action, f.Policies, f.Exempted = v1alpha1.Hold, nil, ""
		for _, h := range r.holders {
			out.MaxDuration, out.Keep = max(out.MaxDuration, h.Hold.MaxDuration), out.Keep || h.Hold.Keep
			f.Policies = withName(f.Policies, h.Name)
		}
		out.For = append(out.For, f)
	}
	switch {
	case len(out.For) > 0:
		out.Holds = p.gated || (p.attributes.Hold == WillHold && !p.attributes.DryRun && !p.snapshot.options.DryRun)
		out.Would = !out.Holds
	case p.neverHeld != "":
		out.End = EndExcluded
	case !p.asksHold():
		out.End = EndPolicy
	case expired:
		out.End = EndExpired
	case exempted:
		out.End = EndExempted
	default:
		out.End = EndFound
	}
	return out
}

// asksHold reports whether a policy that matches, and is not in dry run, asks for Hold.
func (p *Plan) asksHold() bool {
	return !p.snapshot.options.DryRun && slices.ContainsFunc(p.trials, func(t trial) bool {
		return slices.ContainsFunc(t.votes, func(v vote) bool { return v.action == v1alpha1.Hold && !v.policy.dryRun })
	})
}

// holdOnly leaves the trials of checks that a policy holds pods for.
func holdOnly(trials []trial) []trial {
	return slices.DeleteFunc(trials, func(t trial) bool {
		return !slices.ContainsFunc(t.votes, func(v vote) bool { return v.action == v1alpha1.Hold })
	})
}

// warning tells the person who made the request what becomes of the pod.
func (h *Held) warning() string {
	return Message(func(func(string) string) string {
		text := "The pod is not scheduled (scheduling gate " + HoldGate + ") until that is mended, "
		if h.Keep {
			return text + "however long that takes."
		}
		return text + "for " + h.MaxDuration.String() + " at most."
	})
}
