package policy

import (
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/workload"
)

// Guarded is what is read of a Secret or an account that is deleted or written: never
// the value of a key.
type Guarded struct {
	Metadata struct {
		Name              string            `json:"name"`
		GenerateName      string            `json:"generateName"`
		UID               types.UID         `json:"uid"`
		Annotations       map[string]string `json:"annotations"`
		DeletionTimestamp *metav1.Time      `json:"deletionTimestamp"`
	} `json:"metadata"`
	// Type of a Secret.
	Type corev1.SecretType `json:"type"`
	// AutomountServiceAccountToken of an account.
	AutomountServiceAccountToken *bool `json:"automountServiceAccountToken"`
}

// GuardedRequest is a request about such an object.
type GuardedRequest struct {
	Kind      reference.Kind // Secret or ServiceAccount
	Operation admissionv1.Operation
	Namespace string
	// Name is empty in a deletecollection.
	Name        string
	UserInfo    authenticationv1.UserInfo
	Object, Old *Guarded
}

// Deletion returns the deletion that is asked for; nil if none is.
func (r *GuardedRequest) Deletion() *Deletion {
	old := r.Old
	if r.Operation != admissionv1.Delete || old == nil {
		return nil
	}
	return &Deletion{
		Object: facts.Object{Kind: r.Kind, Namespace: r.Namespace, Name: old.Metadata.Name},
		UID:    string(old.Metadata.UID), Annotations: old.Metadata.Annotations, BeingDeleted: old.Metadata.DeletionTimestamp != nil,
		TokenSecret: old.Type == corev1.SecretTypeServiceAccountToken, PullSecret: IsPullSecret(old.Type),
		Collection: r.Name == "", UserInfo: r.UserInfo,
	}
}

// Attributes returns what is to be judged where an object is created or changed; for
// anything else attributes that no check is for.
func (r *GuardedRequest) Attributes() *Attributes {
	a := &Attributes{Operation: r.Operation, UserInfo: r.UserInfo, Namespace: r.Namespace}
	now := r.Object
	if now == nil {
		return a
	}
	a.Written = &Written{Object: facts.Object{Kind: r.Kind, Namespace: r.Namespace, Name: now.Metadata.Name}, Now: now, Old: r.Old}
	if a.Written.Name == "" {
		a.Written.Name = now.Metadata.GenerateName
	}
	account := &corev1.Pod{}
	account.Namespace, account.DeletionTimestamp = r.Namespace, now.Metadata.DeletionTimestamp
	account.Spec.ServiceAccountName = a.Written.account(now)
	a.Pod = &workload.Pod{Pod: account}
	return a
}

// Written is a Secret or an account that is created or changed.
type Written struct {
	facts.Object
	// Now is what it becomes, Old what it was; nil if it is new.
	Now, Old *Guarded
}

// account returns the account that the object is, or holds a token of.
func (w *Written) account(of *Guarded) string {
	switch {
	case of == nil:
		return ""
	case w.Kind == reference.ServiceAccount:
		return w.Name
	case of.Type == corev1.SecretTypeServiceAccountToken:
		return of.Metadata.Annotations[corev1.ServiceAccountNameKey]
	}
	return ""
}
