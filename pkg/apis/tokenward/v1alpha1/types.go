package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of these types.
var GroupVersion = schema.GroupVersion{Group: "tokenward.dev", Version: "v1alpha1"} //nolint:gochecknoglobals // the form that every API package has

// The kind and the resource of TokenPolicy.
const (
	TokenPolicyKind     = "TokenPolicy"
	TokenPolicyResource = "tokenpolicies"
)

// Mode says whether a policy acts.
type Mode string

// The modes of a policy.
const (
	Enforce Mode = "Enforce"
	DryRun  Mode = "DryRun" // decide and record everything, change nothing
)

// UnknownAction is what a check leads to where an object could not be looked up.
type UnknownAction string

// What unknown leads to.
const (
	AllowUnknown UnknownAction = "Allow" // recorded, as under Audit
	DenyUnknown  UnknownAction = "Deny"  // the check's own action, never more
)

// FailurePolicy says whether a policy counts as matching where that can't be told.
type FailurePolicy string

// The failure policies.
const (
	Fail   FailurePolicy = "Fail"   // it counts as matching, and refuses a pod that it might change
	Ignore FailurePolicy = "Ignore" // it does not count as matching, and changes nothing
)

// OnExpiry is what becomes of a held pod once it was held for long enough.
type OnExpiry string

// What becomes of held pods.
const (
	ReleaseHeld OnExpiry = "Release" // it starts, and the kubelet tells the rest
	KeepHeld    OnExpiry = "Keep"    // it stays held, and is reported
)

// TokenPolicy says what happens to pods whose tokens, Secrets, ConfigMaps or
// account are missing or do not work. It is cluster-scoped, and made for cluster
// administrators.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=tokenpolicies,singular=tokenpolicy,shortName=tpol,categories=tokenward
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=".spec.mode",description="Enforce, or DryRun: nothing is denied or changed"
// +kubebuilder:printcolumn:name="Strictest",type=string,JSONPath=".status.strictestAction",description="The strongest action of any check"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description="Whether the policy is in force as it is written"
// +kubebuilder:printcolumn:name="Findings",type=integer,JSONPath=".status.audit.findings",description="What the last audit found by the policy"
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=".status.audit.matchedPods",priority=1,description="Pods that the policy matched in the last audit"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=".status.conditions[?(@.type==\"Ready\")].reason",priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
type TokenPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the wanted behaviour.
	//
	// +optional
	Spec TokenPolicySpec `json:"spec,omitempty"`
	// Status is what was made of the policy. Tokenward writes it.
	//
	// +optional
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
	// Mode is Enforce, or DryRun: decide and record everything, change nothing.
	//
	// +optional
	// +kubebuilder:default=Enforce
	// +kubebuilder:validation:Enum=Enforce;DryRun
	Mode Mode `json:"mode,omitempty"`
	// Match selects pods. Empty matches all.
	//
	// +optional
	Match Match `json:"match,omitempty"`
	// MatchConditions are CEL expressions, as in ValidatingAdmissionPolicy, that
	// must all be true for the policy to apply. They see object, oldObject, request
	// and namespaceObject. The object is always a Pod: of a workload the one that
	// its template makes. A condition that is false excludes the policy, whatever
	// the others do; one that fails leaves it unknown, and failurePolicy decides.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	MatchConditions []MatchCondition `json:"matchConditions,omitempty"`
	// FailurePolicy says whether the policy counts as matching where that can't be
	// told: a condition fails, or the labels of the namespace can't be read. Fail, the
	// default: it does, and a pod that it might change is refused. Ignore: it does
	// not. A condition that costs too much to evaluate counts as true in either case.
	//
	// +optional
	// +kubebuilder:default=Fail
	// +kubebuilder:validation:Enum=Fail;Ignore
	FailurePolicy FailurePolicy `json:"failurePolicy,omitempty"`
	// Checks and what they lead to. The strictest action of all policies that match
	// decides: what one policy lists never weakens another. Where there is no
	// TokenPolicy named default, a built-in one of that name applies to all pods.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Checks []CheckRule `json:"checks,omitempty"`
	// TemplateAction is the most that happens to a workload template, such as a
	// Deployment's: None, Audit, Warn or Deny. Its pods are judged by themselves.
	//
	// +optional
	// +kubebuilder:default=Warn
	// +kubebuilder:validation:Enum=None;Audit;Warn;Deny
	TemplateAction TemplateAction `json:"templateAction,omitempty"`
	// Hold says how long pods are held, and what then becomes of them, where a check
	// has the action Hold.
	//
	// +optional
	Hold *HoldOptions `json:"hold,omitempty"`
	// Mutate changes pods before they are judged.
	//
	// +optional
	Mutate *Mutate `json:"mutate,omitempty"`
	// Exemptions bring checks of this policy down to Audit. One that lists no checks
	// keeps the policy from changing the pod, too.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Exemptions []Exemption `json:"exemptions,omitempty"`

	// OnUnknown was moved: write onUnknown in each of spec.checks.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="has moved to spec.checks[].onUnknown: write it in each check that shall deny what is unknown"
	OnUnknown MovedField `json:"onUnknown,omitempty"`
}

// MovedField is a field of an earlier form of TokenPolicy. The API server would
// drop a field that it does not know; this one it refuses, and says where it went.
type MovedField string

// Match selects pods. All its parts must hold; an empty one holds always.
type Match struct {
	// NamespaceSelector selects by the labels of the pod's namespace.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="an operator must be In, NotIn, Exists or DoesNotExist"
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// PodSelector selects by the labels of the pod.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="an operator must be In, NotIn, Exists or DoesNotExist"
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
	// ServiceAccountNames matches pods that run as one of these accounts.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of an account: lower-case letters, digits, '-' and '.'"
	ServiceAccountNames []string `json:"serviceAccountNames,omitempty"`
}

// MatchCondition is one CEL condition.
type MatchCondition struct {
	// Name of the condition, for messages. Unique within the policy.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$')",message="must start and end with a letter or digit, with '-', '_' and '.' between; a domain and '/' may come first"
	Name string `json:"name"`
	// Expression in CEL that must evaluate to a bool.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	Expression string `json:"expression"`
}

// CheckRule says what a check leads to.
type CheckRule struct {
	// Name of the check, such as secret-exists. The documentation has a page on each.
	//
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z][a-z0-9]*(-[a-z0-9]+)*$')",message="must be the name of a check: lower-case words joined by '-', such as secret-exists"
	Name string `json:"name"`
	// Action is None, Audit, Warn, Hold or Deny, each of which includes the weaker
	// ones. Hold is for what waiting can heal, such as a missing Secret: the pod is
	// held until it is there.
	//
	// +required
	// +kubebuilder:validation:Enum=None;Audit;Warn;Hold;Deny
	Action Action `json:"action"`
	// OnUnknown is what the check leads to where an object could not be looked up.
	// Allow: a record, as under Audit. Deny: the check's own action, never more.
	//
	// +optional
	// +kubebuilder:default=Allow
	// +kubebuilder:validation:Enum=Allow;Deny
	OnUnknown UnknownAction `json:"onUnknown,omitempty"`
	// Parameters of the check, where it has any.
	//
	// +optional
	Parameters *Parameters `json:"parameters,omitempty"`
}

// Parameters tune a check. Each check says which of them it reads.
//
// +kubebuilder:validation:MinProperties=1
type Parameters struct {
	// GracePeriod of token-secret-populated: how old a token Secret may be without
	// a token, such as 30s or 2m, at most 24h. Default 30s.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) <= duration('24h')",message="must be a duration between 0s and 24h, such as 30s or 2m"
	GracePeriod *metav1.Duration `json:"gracePeriod,omitempty"`
}

// HoldOptions say how pods are held.
type HoldOptions struct {
	// MaxDuration is how long a pod is held at most, such as 5m or 1h, from 1s to 24h.
	// Keep it under the progressDeadlineSeconds of Deployments, which is 600 unless
	// they say otherwise.
	//
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="must be a duration between 1s and 24h, such as 5m"
	MaxDuration *metav1.Duration `json:"maxDuration,omitempty"`
	// OnExpiry is what then becomes of the pod. Release: it starts, and the kubelet
	// tells what is missing. Keep: it stays held, and is reported.
	//
	// +optional
	// +kubebuilder:default=Release
	// +kubebuilder:validation:Enum=Release;Keep
	OnExpiry OnExpiry `json:"onExpiry,omitempty"`
}
