package policy

// Subject is which requests a check is for.
type Subject uint8

// The subjects.
const (
	// OfPods: a pod or a template is made or changed.
	OfPods Subject = iota
	// OfDeletions: a Secret or an account is deleted. The check judges the pods that
	// depend on it.
	OfDeletions
	// OfWrites: a Secret or an account is made or changed.
	OfWrites
)

// String completes "Judged when ".
func (s Subject) String() string {
	switch s {
	case OfPods:
		return "a pod or a workload is created or changed"
	case OfDeletions:
		return "a Secret or a ServiceAccount is deleted"
	case OfWrites:
		return "a Secret or a ServiceAccount is created or changed"
	}
	return ""
}

// subject tells which checks the attributes are for.
func (a *Attributes) subject() Subject {
	switch {
	case a.Gone != nil:
		return OfDeletions
	case a.Written != nil:
		return OfWrites
	}
	return OfPods
}
