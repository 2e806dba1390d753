package policy

import (
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
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

// inEffect returns what an action comes to. No pod is held yet: Hold acts as Warn.
func inEffect(action v1alpha1.Action) v1alpha1.Action {
	if action == v1alpha1.Hold {
		return v1alpha1.Warn
	}
	return action
}
