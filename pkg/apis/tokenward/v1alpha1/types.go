package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of these types.
var GroupVersion = schema.GroupVersion{Group: "tokenward.dev", Version: "v1alpha1"} //nolint:gochecknoglobals // the form that every API package has

// TokenPolicyKind is the kind of TokenPolicy.
const TokenPolicyKind = "TokenPolicy"

// Action is what happens when a check finds something. Actions are ordered,
// and each includes the weaker ones: Off < Audit < Warn < Deny.
type Action string

// The actions. Hold will stand between Warn and Deny.
const (
	Off   Action = "Off"
	Audit Action = "Audit" // audit annotation, metric, report
	Warn  Action = "Warn"
	Deny  Action = "Deny"
)

// Mode says whether a policy acts.
type Mode string

// The modes of a policy.
const (
	Enforce Mode = "Enforce"
	DryRun  Mode = "DryRun" // decide and record everything, change nothing
)

// UnknownAction is what a policy makes of something that could not be looked up.
type UnknownAction string

// What unknown leads to.
const (
	AllowUnknown UnknownAction = "Allow" // recorded, as under Audit
	DenyUnknown  UnknownAction = "Deny"  // the check's own action, never more
)

// When says when a mutation applies.
type When string

// The times at which an account is set.
const (
	WhenUnset  When = "Unset"
	WhenAlways When = "Always"
)

// Project says which volumes are rewritten to projected tokens.
type Project string

// Which long-lived token volumes are rewritten.
const (
	ProjectExisting          Project = "Existing"
	ProjectExistingOrMissing Project = "ExistingOrMissing"
)

// TokenPolicy says what happens to pods whose tokens, Secrets, ConfigMaps or
// account are missing or do not work. It is cluster-scoped.
//
// +kubebuilder:object:root=true
type TokenPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   TokenPolicySpec   `json:"spec,omitempty"`
	Status TokenPolicyStatus `json:"status,omitempty"`
}

// TokenPolicyList is a list of TokenPolicy.
//
// +kubebuilder:object:root=true
type TokenPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []TokenPolicy `json:"items"`
}

// TokenPolicySpec is the wanted behaviour.
type TokenPolicySpec struct {
	// Mode is Enforce (the default), or DryRun: decide and record everything,
	// change nothing.
	Mode Mode `json:"mode,omitempty"`
	// Match selects pods. Empty matches all.
	Match Match `json:"match,omitempty"`
	// MatchConditions are CEL expressions, as in ValidatingAdmissionPolicy, that
	// must all be true. The object is always a Pod.
	MatchConditions []MatchCondition `json:"matchConditions,omitempty"`
	// Checks and what they lead to. A check that no matching policy lists acts by its default.
	Checks []CheckRule `json:"checks,omitempty"`
	// OnUnknown is Allow (the default) or Deny: what becomes of a pod when
	// something could not be looked up. Deny means the check's own action.
	OnUnknown UnknownAction `json:"onUnknown,omitempty"`
	// TemplateAction is the most that happens to a workload template: Off, Warn
	// (the default) or Deny.
	TemplateAction Action `json:"templateAction,omitempty"`
	// Mutate changes pods before they are judged.
	Mutate *Mutate `json:"mutate,omitempty"`
	// Exemptions bring checks of this policy down to Audit.
	Exemptions []Exemption `json:"exemptions,omitempty"`
}

// Match selects pods. All its parts must hold; an empty one holds always.
type Match struct {
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	PodSelector       *metav1.LabelSelector `json:"podSelector,omitempty"`
	// ServiceAccountNames matches pods that run as one of these accounts.
	ServiceAccountNames []string `json:"serviceAccountNames,omitempty"`
}

// MatchCondition is one CEL condition.
type MatchCondition struct {
	Name       string `json:"name"`
	Expression string `json:"expression"`
}

// CheckRule says what a check leads to.
type CheckRule struct {
	// Name of the check, such as secret-exists.
	Name string `json:"name"`
	// Action is Off, Audit, Warn or Deny; the check's default if empty.
	Action Action `json:"action,omitempty"`
	// Parameters of the check, where it has any.
	Parameters *Parameters `json:"parameters,omitempty"`
}

// Parameters tune a check. Each check says which of them it reads.
type Parameters struct {
	// GracePeriod of token-secret-populated: how old a token Secret may be
	// without a token. Default 30s.
	GracePeriod *metav1.Duration `json:"gracePeriod,omitempty"`
}

// Mutate says how pods are changed.
type Mutate struct {
	ServiceAccount               *ServiceAccountMutation `json:"serviceAccount,omitempty"`
	AutomountServiceAccountToken *bool                   `json:"automountServiceAccountToken,omitempty"`
	LongLivedTokenVolumes        *LongLivedTokenVolumes  `json:"longLivedTokenVolumes,omitempty"`
	// RecordAnnotation writes what was changed onto the pod.
	RecordAnnotation bool `json:"recordAnnotation,omitempty"`
}

// ServiceAccountMutation sets the account of a pod.
type ServiceAccountMutation struct {
	Name string `json:"name"`
	// When is Unset (the default) or Always.
	When When `json:"when,omitempty"`
}

// LongLivedTokenVolumes rewrites volumes of token Secrets to projected tokens.
type LongLivedTokenVolumes struct {
	// Project is Existing or ExistingOrMissing.
	Project Project `json:"project"`
	// ExpirationSeconds of the projected token. Default 3607.
	ExpirationSeconds *int64 `json:"expirationSeconds,omitempty"`
}

// Exemption brings checks down to Audit for what it selects. All its parts
// must hold; an empty one holds always.
type Exemption struct {
	// Checks that the exemption is for; all of the policy's if empty.
	Checks              []string              `json:"checks,omitempty"`
	Namespaces          []string              `json:"namespaces,omitempty"`
	PodSelector         *metav1.LabelSelector `json:"podSelector,omitempty"`
	ServiceAccountNames []string              `json:"serviceAccountNames,omitempty"`
	// ObjectNames are the names of the objects at fault, such as a Secret's.
	ObjectNames []string `json:"objectNames,omitempty"`
	// Users and Groups who made the request (break-glass).
	Users  []string `json:"users,omitempty"`
	Groups []string `json:"groups,omitempty"`
	// Until is when the exemption ends; never if empty.
	Until *metav1.Time `json:"until,omitempty"`
	// Reason is recorded with each finding that the exemption brings down.
	Reason string `json:"reason,omitempty"`
}

// TokenPolicyStatus is what was made of the policy.
type TokenPolicyStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}
