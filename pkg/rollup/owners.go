package rollup

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/report"
)

const (
	// maxOwners bounds a chain of owners: nothing forbids a circle.
	maxOwners = 8
	// maxOwnerReads bounds how many owners are read for one namespace: whoever makes
	// pods there can name any.
	maxOwnerReads = 1000
)

// ReadController returns the controller of an owner that no list brought; nil if
// there is none or that is unknown. mayExist is false if there is no such owner.
type ReadController func(ctx context.Context, namespace string, owner *metav1.OwnerReference) (controller *metav1.OwnerReference, mayExist bool)

// Owners finds the top-level owner of an object: the last in the chain of
// controllers that can be followed, and that exist. An object says itself who
// controls it, and may say anything.
type Owners struct {
	read ReadController

	mu     sync.Mutex
	listed map[types.UID]owned // what lists brought
	asked  map[identity]owned
	reads  map[string]int // by namespace
	unread map[string]int // owners that were not read since there were too many
}

// identity is what a reference says of an owner. The version of its API is left out:
// there may be several for one object.
type identity struct {
	namespace, kind, name string
	uid                   types.UID
}

// owned is what is known of an owner.
type owned struct {
	identity
	controller *metav1.OwnerReference // nil for none
	mayExist   bool
}

// NewOwners returns Owners that know of none yet.
func NewOwners(read ReadController) *Owners {
	return &Owners{read: read, listed: map[types.UID]owned{}, asked: map[identity]owned{}, reads: map[string]int{}, unread: map[string]int{}}
}

// Add notes who controls an object of a list.
func (o *Owners) Add(item *listing.Item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := identity{item.Namespace, item.Kind.Kind, item.Name, item.Meta.GetUID()}
	o.listed[id.uid] = owned{id, item.Controller(), true}
}

// Unread returns how many owners in a namespace were not looked at, since there were
// too many that no list brought. What their pods say of them is believed.
func (o *Owners) Unread(namespace string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.unread[namespace]
}

// Top returns the top-level owner of an object, which may be itself.
func (o *Owners) Top(ctx context.Context, object report.Ref, controller *metav1.OwnerReference) report.Ref {
	top := object
	for range maxOwners {
		if controller == nil {
			break
		}
		owner := o.lookup(ctx, object.Namespace, controller)
		if !owner.mayExist {
			break
		}
		// An owner is in the same namespace or in none, which depends on its kind.
		top = report.Ref{APIVersion: controller.APIVersion, Kind: controller.Kind, Namespace: object.Namespace, Name: controller.Name, UID: string(controller.UID)}
		controller = owner.controller
	}
	return top
}

func (o *Owners) lookup(ctx context.Context, namespace string, owner *metav1.OwnerReference) owned {
	id := identity{namespace, owner.Kind, owner.Name, owner.UID}
	o.mu.Lock()
	if listed, ok := o.listed[id.uid]; ok {
		o.mu.Unlock()
		if listed.identity != id {
			return owned{} // the uid is another object's
		}
		return listed
	}
	known, ok := o.asked[id]
	mayRead := o.reads[namespace] < maxOwnerReads
	switch {
	case ok:
	case mayRead:
		o.reads[namespace]++
	default:
		o.unread[namespace]++
		known, ok = owned{identity: id, mayExist: true}, true
	}
	o.mu.Unlock()
	if ok {
		return known
	}
	known.controller, known.mayExist = o.read(ctx, namespace, owner)
	o.mu.Lock()
	o.asked[id] = known
	o.mu.Unlock()
	return known
}
