package listing

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// Users answers which pods and pod templates use an object. The zero value has
// none.
type Users struct {
	uses map[facts.Object][]Use
}

// User is a pod, or an object with a pod template.
type User struct {
	Kind            schema.GroupVersionKind
	Namespace, Name string
	UID             types.UID
	// Controller is who controls the user; nil for nobody.
	Controller *metav1.OwnerReference
	// Template is set for what pods are made from.
	Template bool
	// Finished pods have ended, or are being deleted; so may templates be. They need
	// nothing any more.
	Finished bool
}

// Use is one field of a user that points at an object. Its reference says by which
// route, and whether the object may be missing.
type Use struct {
	*User
	Reference reference.Reference
}

// Add adds an object that stands for a pod, with those references of the pod that
// are of interest.
func (u *Users) Add(item *Item, references []reference.Reference) {
	if len(references) == 0 {
		return
	}
	if u.uses == nil {
		u.uses = map[facts.Object][]Use{}
	}
	phase := item.Pod.Status.Phase
	user := &User{
		Kind: item.Kind, Namespace: item.Namespace, Name: item.Name, UID: item.Meta.GetUID(),
		Controller: item.Controller(), Template: item.Pod.Template,
		Finished: item.Pod.DeletionTimestamp != nil || phase == corev1.PodSucceeded || phase == corev1.PodFailed,
	}
	for i := range references {
		r := &references[i]
		o := facts.Object{Kind: r.Kind, Name: r.Name, SignerName: r.SignerName, Labels: r.Labels}
		if r.Kind != reference.ClusterTrustBundle {
			o.Namespace = item.Namespace
		}
		u.uses[o] = append(u.uses[o], Use{User: user, Reference: *r})
	}
}

// Of returns the uses of an object in the order in which they were added. Those of
// a ClusterTrustBundle that is chosen by signer and labels are found by these.
func (u *Users) Of(o facts.Object) []Use { return u.uses[o] }
