package v1alpha1

import "slices"

// Action is what happens when a check finds something. Actions are ordered,
// and each includes the weaker ones: see Actions.
type Action string

// The actions. Hold will stand between Warn and Deny.
const (
	Off   Action = "Off"
	Audit Action = "Audit" // audit annotation, metric, report
	Warn  Action = "Warn"
	Deny  Action = "Deny"
)

// Actions returns all actions, the weakest first. The enum of the CRD lists them
// in the same order.
func Actions() []Action { return []Action{Off, Audit, Warn, Deny} }

// Strength returns the place of the action in Actions, or -1 for a text that is
// no action, such as the empty one.
func (a Action) Strength() int { return slices.Index(Actions(), a) }

// StrongerThan reports whether a is stronger than b.
func (a Action) StrongerThan(b Action) bool { return a.Strength() > b.Strength() }

// Stronger returns the stronger of two actions.
func Stronger(a, b Action) Action {
	if b.StrongerThan(a) {
		return b
	}
	return a
}

// Weaker returns the weaker of two actions.
func Weaker(a, b Action) Action {
	if a.StrongerThan(b) {
		return b
	}
	return a
}
