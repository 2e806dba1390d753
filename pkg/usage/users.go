// Package usage answers which pods and pod templates use an object, and which
// workloads are behind them.
//
// It is pure, and it may import packages facts, reference and workload, and nothing
// else of ours.
package usage

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/workload"
)

// Users answers which pods and pod templates use an object. The zero value has
// none.
type Users struct {
	// Unread says which lists did not come, or not whole, and why: "pods: time-out".
	Unread []string

	all         []*User
	uses        map[facts.Object][]Use
	controllers map[types.UID]*metav1.OwnerReference // by the uid of what they control
}

// User is a pod, or an object with a pod template.
type User struct {
	workload.Object
	UID types.UID
	// Controller is who controls the user; nil for nobody.
	Controller *metav1.OwnerReference
	// Finished pods have ended, or are being deleted; so may templates be. They need
	// nothing any more.
	Finished bool
}

// NewUser returns an object that stands for a pod as a user.
func NewUser(object *workload.Object, meta metav1.Object) *User {
	phase := object.Pod.Status.Phase
	return &User{
		Object: *object, UID: meta.GetUID(), Controller: metav1.GetControllerOf(meta),
		Finished: object.Pod.DeletionTimestamp != nil || phase == corev1.PodSucceeded || phase == corev1.PodFailed,
	}
}

// Use is one field of a user that points at an object. Its reference says by which
// route, and whether the object may be missing.
type Use struct {
	*User
	Reference reference.Reference
}

// Add adds a user, with those references of its pod that are of interest.
func (u *Users) Add(user *User, references []reference.Reference) {
	if u.uses == nil {
		u.uses, u.controllers = map[facts.Object][]Use{}, map[types.UID]*metav1.OwnerReference{}
	}
	u.all = append(u.all, user)
	u.controllers[user.UID] = user.Controller
	for i := range references {
		r := &references[i]
		o := facts.Object{Kind: r.Kind, Name: r.Name, SignerName: r.SignerName, Labels: r.Labels}
		if r.Kind != reference.ClusterTrustBundle {
			o.Namespace = user.Namespace
		}
		u.uses[o] = append(u.uses[o], Use{User: user, Reference: *r})
	}
}

// Of returns the uses of an object in the order in which they were added. Those of
// a ClusterTrustBundle that is chosen by signer and labels are found by these.
func (u *Users) Of(o facts.Object) []Use { return u.uses[o] }
