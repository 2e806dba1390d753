package policy

import "fmt"

// Impact is what the table of checks says of the findings of a check. It comes
// with every finding, so that nobody has to know a check by its name.
type Impact struct {
	Effect   Effect
	Severity Severity
	Category Category
	Waiting  Waiting
	// UsesTrust is set where the check goes by the signing keys or the serving
	// certificate of the API server. A replica that has just started does not know
	// them for certain, so that what it finds may change for a while.
	UsesTrust bool
}

// Effect is what a fault breaks, and when. The zero value is no effect of the set.
type Effect uint8

// The effects.
const (
	_ Effect = iota
	// BreaksNothing: the pod works; the way it is made is at fault.
	BreaksNothing
	// BreaksAtStart: the pod does not start. One that runs goes on until its next
	// restart.
	BreaksAtStart
	// BreaksAtCreation: the next pod can't be created.
	BreaksAtCreation
	// BreaksInUse: calls that the pod makes are refused from now on.
	BreaksInUse
)

// String completes "Effect: ".
func (e Effect) String() string {
	switch e {
	case BreaksNothing:
		return "nothing breaks; the way the pod is made is at fault"
	case BreaksAtStart:
		return "the pod does not start; one that runs goes on until its next restart"
	case BreaksAtCreation:
		return "the next pod can't be created"
	case BreaksInUse:
		return "at once: calls that the pod makes are refused"
	}
	return ""
}

// Severity is how much a finding weighs beside those of other checks, whatever
// action a policy gives it.
type Severity uint8

// The severities, the lowest first.
const (
	_ Severity = iota
	Low
	Medium
	High
)

// String returns the severity as OpenReports spells it.
func (s Severity) String() string {
	switch s {
	case Low:
		return "low"
	case Medium:
		return "medium"
	case High:
		return "high"
	}
	return ""
}

// Category is what a check looks at.
type Category uint8

// The categories.
const (
	_ Category = iota
	// References of a pod to other objects.
	References
	// Tokens of service accounts.
	Tokens
)

// String returns the category as reports show it.
func (c Category) String() string {
	switch c {
	case References:
		return "References"
	case Tokens:
		return "Service account tokens"
	}
	return ""
}

// Waiting says whether a pod with a finding may become whole without being
// changed itself.
type Waiting uint8

// What waiting leads to.
const (
	_ Waiting = iota
	// WaitingIsVain: the pod itself has to be changed.
	WaitingIsVain
	// WaitingMayHeal: somebody may make or mend the object that the pod points at.
	WaitingMayHeal
	// WaitingMayHold: the same, and the pod may be held until then.
	WaitingMayHold
	// WaitingMayHoldTokenSecret: the same, but a pod may be held only where the
	// object is a Secret of the token type, which a controller fills.
	WaitingMayHoldTokenSecret
)

// Heals reports whether waiting may heal what was found.
func (w Waiting) Heals() bool { return w >= WaitingMayHeal }

// MayHold reports whether a pod may be held for what was found. tokenSecret says
// that the object of the finding is a Secret of the token type.
func (w Waiting) MayHold(tokenSecret bool) bool {
	return w == WaitingMayHold || (w == WaitingMayHoldTokenSecret && tokenSecret)
}

// mayHoldSome reports whether a pod may be held for anything that the check finds.
func (w Waiting) mayHoldSome() bool { return w.MayHold(true) }

// validate reports what the row of a check leaves out.
func (i *Impact) validate() error {
	switch {
	case i.Effect.String() == "":
		return fmt.Errorf("effect %d is not one of the set", i.Effect)
	case i.Severity.String() == "":
		return fmt.Errorf("severity %d is not one of the set", i.Severity)
	case i.Category.String() == "":
		return fmt.Errorf("category %d is not one of the set", i.Category)
	case i.Waiting < WaitingIsVain || i.Waiting > WaitingMayHoldTokenSecret:
		return fmt.Errorf("waiting %d is not one of the set", i.Waiting)
	case i.Waiting.Heals() && i.Effect == BreaksNothing:
		return fmt.Errorf("waiting heals nothing where nothing breaks")
	}
	return nil
}
