package audit

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tokenward.dev/tokenward/pkg/report"
)

// Ref names an object.
type Ref = report.Ref

// maxOwners bounds a chain of owners: nothing forbids a circle.
const maxOwners = 8

// owners finds the top-level owner of an object: the last in the chain of
// controllers that can be followed.
type owners struct {
	// read returns an object's controller, for owners that no list brought; nil
	// if there is none or that can't be told.
	read func(ctx context.Context, owner Ref) *metav1.OwnerReference

	mu    sync.Mutex
	known map[string]*metav1.OwnerReference // controller by uid; nil for none
}

func newOwners(read func(context.Context, Ref) *metav1.OwnerReference) *owners {
	return &owners{read: read, known: map[string]*metav1.OwnerReference{}}
}

// add notes who controls an object.
func (o *owners) add(object metav1.Object) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.known[string(object.GetUID())] = metav1.GetControllerOfNoCopy(object)
}

// top returns the top-level owner of an object, which may be itself.
func (o *owners) top(ctx context.Context, object Ref, controller *metav1.OwnerReference) Ref {
	top := object
	for range maxOwners {
		if controller == nil {
			break
		}
		// Owners are in the same namespace or in none; which, only their kind tells.
		top = Ref{APIVersion: controller.APIVersion, Kind: controller.Kind, Namespace: object.Namespace, Name: controller.Name, UID: string(controller.UID)}
		controller = o.controllerOf(ctx, top)
	}
	return top
}

func (o *owners) controllerOf(ctx context.Context, owner Ref) *metav1.OwnerReference {
	o.mu.Lock()
	controller, ok := o.known[owner.UID]
	o.mu.Unlock()
	if ok {
		return controller
	}
	controller = o.read(ctx, owner)
	o.mu.Lock()
	o.known[owner.UID] = controller
	o.mu.Unlock()
	return controller
}

// readOwner reads the metadata of an owner. The resource is guessed from the
// kind: where that is wrong, or the right is missing, the chain ends here.
func (l *Lister) readOwner(ctx context.Context, owner Ref) *metav1.OwnerReference {
	resource, _ := meta.UnsafeGuessKindToResource(schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind))
	object, err := l.metadata.Resource(resource).Namespace(owner.Namespace).Get(ctx, owner.Name, metav1.GetOptions{})
	if err != nil || string(object.UID) != owner.UID {
		return nil
	}
	return metav1.GetControllerOf(object)
}

func controllerOf(object metav1.Object) *metav1.OwnerReference {
	return metav1.GetControllerOfNoCopy(object)
}
