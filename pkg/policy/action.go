package policy

import "tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"

// strength orders the actions. There is room between Warn and Deny for Hold.
func strength(a v1alpha1.Action) int {
	switch a {
	case v1alpha1.Audit:
		return 1
	case v1alpha1.Warn:
		return 2
	case v1alpha1.Deny:
		return 4
	case v1alpha1.Off:
	}
	return 0
}

func strengthKnown(a v1alpha1.Action) bool { return a == v1alpha1.Off || strength(a) > 0 }

// weaker returns the weaker of two actions.
func weaker(a, b v1alpha1.Action) v1alpha1.Action {
	if strength(b) < strength(a) {
		return b
	}
	return a
}
