package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Exemption brings checks down to Audit for what it selects. All its parts
// must hold; an empty one holds always. At least one must be given.
//
// +kubebuilder:validation:XValidation:rule="(has(self.checks) && size(self.checks) > 0) || (has(self.namespaces) && size(self.namespaces) > 0) || (has(self.namespaceSelector) && (has(self.namespaceSelector.matchLabels) || has(self.namespaceSelector.matchExpressions))) || (has(self.podSelector) && (has(self.podSelector.matchLabels) || has(self.podSelector.matchExpressions))) || (has(self.serviceAccountNames) && size(self.serviceAccountNames) > 0) || (has(self.objects) && size(self.objects) > 0) || (has(self.users) && size(self.users) > 0) || (has(self.groups) && size(self.groups) > 0) || has(self.objectNames)",message="must select something: checks, namespaces, namespaceSelector, podSelector, serviceAccountNames, objects, users or groups; to try a policy out use mode: DryRun"
type Exemption struct {
	// Name of the exemption, unique within the policy. Metrics, conditions and records
	// show it.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be lower-case letters, digits and '-', such as payments-legacy"
	Name string `json:"name"`
	// Checks that the exemption is for. All of the policy's if empty, and then the
	// policy does not change the pod either.
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
	// NamespaceSelector selects by the labels of the pod's namespace. Where they can't
	// be read, the exemption does not hold.
	//
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
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
	// Objects at fault, such as a Secret that does not exist yet. The policy makes no
	// change on account of such an object either, if the exemption lists no checks.
	//
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Objects []ExemptObject `json:"objects,omitempty"`
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

	// ObjectNames was moved: write objects, with the kind of each.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="false",message="has moved to objects, which have a kind: objects: [{kind: Secret, name: db}]"
	ObjectNames []string `json:"objectNames,omitempty"`
}

// ExemptObject names an object at fault, in the namespace of the pod.
type ExemptObject struct {
	// Kind of the object.
	//
	// +required
	// +kubebuilder:validation:Enum=Secret;ConfigMap;ServiceAccount;ClusterTrustBundle;SecretProviderClass
	Kind string `json:"kind"`
	// Name of the object.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}
