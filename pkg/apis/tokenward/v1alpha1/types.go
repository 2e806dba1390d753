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
// account are missing or do not work. It is cluster-scoped, and made for cluster
// administrators.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=tokenpolicies,singular=tokenpolicy,shortName=tpol,categories=tokenward
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=".spec.mode",description="Enforce, or DryRun: nothing is denied or changed"
// +kubebuilder:printcolumn:name="Strictest",type=string,JSONPath=".status.strictestAction",description="The strongest action of any check"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description="Whether the policy is in force as it is written"
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
	// the others do; one that fails leaves it unknown, and onUnknown decides.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	MatchConditions []MatchCondition `json:"matchConditions,omitempty"`
	// Checks and what they lead to. A check that no matching policy lists acts by
	// its default.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Checks []CheckRule `json:"checks,omitempty"`
	// OnUnknown is Allow or Deny: what becomes of a pod when something could not be
	// looked up. Deny means the check's own action, never more.
	//
	// +optional
	// +kubebuilder:default=Allow
	// +kubebuilder:validation:Enum=Allow;Deny
	OnUnknown UnknownAction `json:"onUnknown,omitempty"`
	// TemplateAction is the most that happens to a workload template, such as a
	// Deployment's: Off, Warn or Deny. Its pods are judged by themselves.
	//
	// +optional
	// +kubebuilder:default=Warn
	// +kubebuilder:validation:Enum=Off;Warn;Deny
	TemplateAction Action `json:"templateAction,omitempty"`
	// Mutate changes pods before they are judged.
	//
	// +optional
	Mutate *Mutate `json:"mutate,omitempty"`
	// Exemptions bring checks of this policy down to Audit.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Exemptions []Exemption `json:"exemptions,omitempty"`
}

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
	// Action is Off, Audit, Warn or Deny, each of which includes the weaker ones;
	// the check's default if left out. Quote "Off": to YAML 1.1 a plain Off is false.
	//
	// +optional
	// +kubebuilder:validation:Enum=Off;Audit;Warn;Deny
	Action Action `json:"action,omitempty"`
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

// Mutate says how pods are changed. At least one change must be given.
//
// +kubebuilder:validation:XValidation:rule="has(self.serviceAccount) || has(self.automountServiceAccountToken) || has(self.longLivedTokenVolumes)",message="must have serviceAccount, automountServiceAccountToken or longLivedTokenVolumes"
type Mutate struct {
	// ServiceAccount sets the account of the pod.
	//
	// +optional
	ServiceAccount *ServiceAccountMutation `json:"serviceAccount,omitempty"`
	// AutomountServiceAccountToken sets the field of that name of the pod. With
	// false the token volume that the API server added is taken away, too.
	//
	// +optional
	AutomountServiceAccountToken *bool `json:"automountServiceAccountToken,omitempty"`
	// LongLivedTokenVolumes rewrites volumes of token Secrets of the pod's own
	// account to projected tokens, which expire and are renewed.
	//
	// +optional
	LongLivedTokenVolumes *LongLivedTokenVolumes `json:"longLivedTokenVolumes,omitempty"`
	// RecordAnnotation writes what was changed onto the pod.
	//
	// +optional
	RecordAnnotation bool `json:"recordAnnotation,omitempty"`
}

// ServiceAccountMutation sets the account of a pod.
type ServiceAccountMutation struct {
	// Name of the account. It must exist in the pod's namespace, else the pod is
	// left alone.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of an account: lower-case letters, digits, '-' and '.'"
	Name string `json:"name"`
	// When is Unset, for pods that name no account, or Always.
	//
	// +optional
	// +kubebuilder:default=Unset
	// +kubebuilder:validation:Enum=Unset;Always
	When When `json:"when,omitempty"`
}

// LongLivedTokenVolumes rewrites volumes of token Secrets to projected tokens.
type LongLivedTokenVolumes struct {
	// Project is Existing, or ExistingOrMissing, which also rewrites the volume of
	// a vanished Secret that was named after the pod's own account.
	//
	// +required
	// +kubebuilder:validation:Enum=Existing;ExistingOrMissing
	Project Project `json:"project"`
	// ExpirationSeconds of the projected token, in seconds. 3607 gets the API
	// server's extended expiry for clients that read the token only once.
	//
	// +optional
	// +kubebuilder:default=3607
	// +kubebuilder:validation:Minimum=600
	// +kubebuilder:validation:Maximum=4294967296
	ExpirationSeconds *int64 `json:"expirationSeconds,omitempty"`
}

// Exemption brings checks down to Audit for what it selects. All its parts
// must hold; an empty one holds always. At least one must be given.
//
// +kubebuilder:validation:XValidation:rule="(has(self.checks) && size(self.checks) > 0) || (has(self.namespaces) && size(self.namespaces) > 0) || (has(self.podSelector) && (has(self.podSelector.matchLabels) || has(self.podSelector.matchExpressions))) || (has(self.serviceAccountNames) && size(self.serviceAccountNames) > 0) || (has(self.objectNames) && size(self.objectNames) > 0) || (has(self.users) && size(self.users) > 0) || (has(self.groups) && size(self.groups) > 0)",message="must select something: checks, namespaces, podSelector, serviceAccountNames, objectNames, users or groups; to try a policy out use mode: DryRun"
type Exemption struct {
	// Checks that the exemption is for; all of the policy's if empty.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`
	Checks []string `json:"checks,omitempty"`
	// Namespaces of the pods, by name.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespaces []string `json:"namespaces,omitempty"`
	// PodSelector selects by the labels of the pod.
	//
	// +optional
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
	// ServiceAccountNames are the accounts that the pods run as.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	ServiceAccountNames []string `json:"serviceAccountNames,omitempty"`
	// ObjectNames are the names of the objects at fault, such as a Secret's.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	ObjectNames []string `json:"objectNames,omitempty"`
	// Users who made the request (break-glass). The pods of a Deployment are made
	// by a controller: exempt those by namespace or by their labels.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	Users []string `json:"users,omitempty"`
	// Groups of which the user who made the request is in one (break-glass). See users.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	Groups []string `json:"groups,omitempty"`
	// Until is when the exemption ends, such as 2027-03-31T00:00:00Z; never if
	// left out.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`
	Until *metav1.Time `json:"until,omitempty"`
	// Reason is recorded with each finding that the exemption brings down.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason,omitempty"`
}

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
	// Conditions are Ready (False, with what is wrong, where a part of the policy
	// is not in force) and Overlapping (True where a policy with the same selectors,
	// which comes first by name, sets the same field of pods otherwise and wins).
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The types of conditions, and their reasons.
const (
	ConditionReady       = "Ready"
	ConditionOverlapping = "Overlapping"

	ReasonCompiled     = "Compiled"
	ReasonUnknownCheck = "UnknownCheck"
	ReasonInvalid      = "Invalid"
	ReasonNoOverlap    = "NoOverlap"
	ReasonSameChange   = "SameSelectorsSameChange"
)
