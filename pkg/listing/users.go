package listing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/usage"
)

// What one look at a namespace may cost. The first page of a kind is small, for
// nobody knows yet how large its objects are; the others are made to measure.
const (
	firstPage     = 10
	usersPage     = 1 << 20  // bytes
	maxUsersBytes = 16 << 20 // of what is kept
	maxUsersPages = 100
	parallelLists = 4
)

// errTooMuch ends a look that would cost too much.
var errTooMuch = errors.New("too much to look at")

// Users lists the pods and templates of a namespace, and returns who uses which
// Secrets and accounts there. Lists that do not come, or not whole, are in Unread.
// Without whole, nothing is kept of an object but what checks look at.
func (l *Lister) Users(ctx context.Context, namespace string, whole bool) *usage.Users {
	look := &usersLook{lister: l, namespace: namespace, whole: whole, pages: maxUsersPages, bytes: maxUsersBytes}
	var group errgroup.Group
	group.SetLimit(parallelLists)
	for _, r := range append(l.resources(), l.pods()) {
		group.Go(func() error {
			look.ended(r.name, look.list(ctx, TypedList(r.client, r.name, namespace), func(o runtime.Object) (Item, error) {
				return l.typedItem(r.kind, o)
			}))
			return nil
		})
	}
	for _, r := range l.templates.Resources() {
		group.Go(func() error {
			look.ended(r.Resource, look.listCustom(ctx, r))
			return nil
		})
	}
	_ = group.Wait()
	slices.Sort(look.users.Unread)
	return &look.users
}

// usersLook is one look at a namespace.
type usersLook struct {
	lister    *Lister
	namespace string
	whole     bool

	mu           sync.Mutex
	users        usage.Users
	pages, bytes int // what is left
}

func (k *usersLook) listCustom(ctx context.Context, r schema.GroupVersionResource) error {
	list := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return k.lister.Dynamic.Resource(r).Namespace(k.namespace).List(ctx, options)
	}
	err := k.list(ctx, list, func(o runtime.Object) (Item, error) { return k.lister.customItem(r, o) })
	if cluster.WhyNot(err) == facts.NotServed {
		return nil // there are none
	}
	return err
}

func (k *usersLook) list(ctx context.Context, list List, item func(runtime.Object) (Item, error)) error {
	return eachSizedPage(ctx, firstPage, list, func(page runtime.Object) (int64, error) {
		n, size := 0, 0
		err := meta.EachListItem(page, func(o runtime.Object) error {
			n, size = n+1, size+sizeOf(o)
			one, err := item(o)
			if err != nil || one.Pod == nil {
				return err
			}
			return k.add(&one)
		})
		if err != nil {
			return 0, err
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.pages--; k.pages <= 0 {
			return 0, errTooMuch
		}
		return int64(max(firstPage, min(PageSize, usersPage/max(1, size/max(1, n))))), nil
	})
}

// sizeOf returns how many bytes an object has as it came.
func sizeOf(o runtime.Object) int {
	if sized, ok := o.(interface{ Size() int }); ok {
		return sized.Size()
	}
	return usersPage / firstPage // so that the pages of what can't be weighed stay small
}

func (k *usersLook) add(one *Item) error {
	kept := 0
	if k.whole {
		kept = sizeOf(one.Pod.Pod)
	} else {
		slim(one.Pod.Pod)
		one.Whole, kept = nil, one.Pod.Size()
	}
	references := slices.DeleteFunc(reference.OfPod(one.Pod.Prefix, &one.Pod.Spec), func(r reference.Reference) bool {
		return r.Kind != reference.Secret && r.Kind != reference.ServiceAccount
	})
	user := usage.NewUser(&one.Object, one.Meta)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bytes -= kept + 200*(len(references)+2); k.bytes < 0 {
		return errTooMuch
	}
	k.users.Add(user, references)
	return nil
}

// ended notes how a list ended.
func (k *usersLook) ended(resource string, err error) {
	if err == nil {
		return
	}
	why := string(cluster.WhyNot(err))
	if errors.Is(err, errTooMuch) {
		why = errTooMuch.Error()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.users.Unread = append(k.users.Unread, fmt.Sprintf("%s: %s", resource, why))
}
