package v1alpha1

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
