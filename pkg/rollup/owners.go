package rollup

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/report"
)

// maxOwners bounds a chain of owners: nothing forbids a circle.
const maxOwners = 8

// ReadController returns the controller of an owner that no list brought; nil if
// there is none or that is unknown.
type ReadController func(ctx context.Context, namespace string, owner *metav1.OwnerReference) *metav1.OwnerReference

// Owners finds the top-level owner of an object: the last in the chain of
// controllers that can be followed.
type Owners struct {
	read ReadController

	mu          sync.Mutex
	controllers map[types.UID]*metav1.OwnerReference // by the uid of what they control; nil for none
}

// NewOwners returns Owners that know of none yet.
func NewOwners(read ReadController) *Owners {
	return &Owners{read: read, controllers: map[types.UID]*metav1.OwnerReference{}}
}

// Add notes who controls an object.
func (o *Owners) Add(object metav1.Object) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.controllers[object.GetUID()] = metav1.GetControllerOfNoCopy(object)
}

// Top returns the top-level owner of an object, which may be itself.
func (o *Owners) Top(ctx context.Context, object report.Ref, controller *metav1.OwnerReference) report.Ref {
	top := object
	for range maxOwners {
		if controller == nil {
			break
		}
		// An owner is in the same namespace or in none, which depends on its kind.
		top = report.Ref{APIVersion: controller.APIVersion, Kind: controller.Kind, Namespace: object.Namespace, Name: controller.Name, UID: string(controller.UID)}
		controller = o.controllerOf(ctx, object.Namespace, controller)
	}
	return top
}

func (o *Owners) controllerOf(ctx context.Context, namespace string, owner *metav1.OwnerReference) *metav1.OwnerReference {
	o.mu.Lock()
	controller, known := o.controllers[owner.UID]
	o.mu.Unlock()
	if known {
		return controller
	}
	controller = o.read(ctx, namespace, owner)
	o.mu.Lock()
	o.controllers[owner.UID] = controller
	o.mu.Unlock()
	return controller
}
