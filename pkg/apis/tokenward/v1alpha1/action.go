package v1alpha1

import "slices"

// Action is what happens when a check finds something. Actions are ordered,
// and each includes the weaker ones: see Actions.
type Action string

// The actions.
const (
	None  Action = "None"
	Audit Action = "Audit" // audit annotation, metric, report
	Warn  Action = "Warn"
	Hold  Action = "Hold" // the pod is held until what is missing is there
	Deny  Action = "Deny"
)

// Actions returns all actions, the weakest first. The enum of the CRD lists them
// in the same order.
func Actions() []Action { return []Action{None, Audit, Warn, Hold, Deny} }

// TemplateAction is the most that happens to a workload template. A template can't
// be held.
type TemplateAction string

// The template actions are those of the same name.
const (
	TemplateNone  = TemplateAction(None)
	TemplateAudit = TemplateAction(Audit)
	TemplateWarn  = TemplateAction(Warn)
	TemplateDeny  = TemplateAction(Deny)
)

// TemplateActions returns all template actions, the weakest first.
func TemplateActions() []TemplateAction {
	return []TemplateAction{TemplateNone, TemplateAudit, TemplateWarn, TemplateDeny}
}

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
