package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// TokenPolicyStatus is what was made of the policy.
type TokenPolicyStatus struct {
	// ObservedGeneration is the generation of the spec that the status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// StrictestAction is the strongest action that any check of the policy may lead to.
	//
	// +optional
	StrictestAction Action `json:"strictestAction,omitempty"`
	// Audit has what the last audit of the cluster made of the policy.
	//
	// +optional
	Audit *PolicyAudit `json:"audit,omitempty"`
	// Conditions are Ready (False, with what is wrong, where a part of the policy
	// is not in force), Overlapping (True where a policy with the same selectors,
	// which comes first by name, sets the same field of pods otherwise and wins),
	// ExpressionWarnings (True where a condition names a field that a Pod does not
	// have) and ExemptionsEnding (True where an exemption has ended, or will within a
	// week).
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// PolicyAudit counts what the last audit made of a policy. Tokenward brings it up
// to date at most once a minute.
type PolicyAudit struct {
	// MatchedPods are the pods and the pod templates that the policy matched.
	//
	// +optional
	MatchedPods int64 `json:"matchedPods"`
	// Findings are those that the policy asks for, at Audit or more; of a policy in
	// DryRun those that it would ask for.
	//
	// +optional
	Findings int64 `json:"findings"`
}

// The types of conditions, and their reasons.
const (
	ConditionReady              = "Ready"
	ConditionOverlapping        = "Overlapping"
	ConditionExpressionWarnings = "ExpressionWarnings"
	ConditionExemptionsEnding   = "ExemptionsEnding"

	ReasonCompiled     = "Compiled"
	ReasonUnknownCheck = "UnknownCheck"
	ReasonInvalid      = "Invalid"
	ReasonHoldDisabled = "HoldDisabled"
	ReasonNoOverlap    = "NoOverlap"
	ReasonSameChange   = "SameSelectorsSameChange"
	ReasonNoWarning    = "NoWarning"
	ReasonTypeChecking = "TypeChecking"
	ReasonNoneEnds     = "NoneEnds"
	ReasonEndsSoon     = "EndsSoon"
	ReasonEnded        = "Ended"
)
