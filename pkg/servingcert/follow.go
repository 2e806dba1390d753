package servingcert

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// retryAfter is how long to wait before another list, and up to twice as long. It
// is short: a replica that has just started can't serve before it has read the
// Secret.
const retryAfter = time.Second

// lister lists and watches objects of one kind.
type lister[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// follow reports every state of one object to seen, nil where it does not exist,
// until the context ends. failed gets each error, and nil once a watch has begun.
//
// A reflector does the work. It watches from the version of a list, not of the
// object: the object's own may be older than what the API server remembers. By
// the field selector RBAC can limit "list" and "watch" to the object's name.
func follow[T metav1.Object, L runtime.Object](ctx context.Context, from lister[L], name string, seen func(object T, exists bool), failed func(error)) {
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	source := plainList{&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = selector
			return from.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = selector
			w, err := from.Watch(ctx, options)
			if err == nil {
				failed(nil)
			}
			return w, err
		},
	}}
	r := cache.NewReflectorWithOptions(source, nil, singleObject[T]{seen}, cache.ReflectorOptions{
		Name: name, TypeDescription: name,
		Backoff: &wait.Backoff{Duration: retryAfter, Jitter: 1},
	})
	wait.JitterUntilWithContext(ctx, func(ctx context.Context) {
		err := r.ListAndWatchWithContext(ctx)
		// An API server that no longer has the version is asked for a list again.
		if err != nil && ctx.Err() == nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			failed(err)
		}
	}, retryAfter, 1, true)
}

// plainList makes a reflector list in the plain way: to stream a list of one object
// saves nothing, and not every API server can.
type plainList struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported is what the reflector asks.
func (plainList) IsWatchListSemanticsUnSupported() bool { return true }

// singleObject is the store that a reflector of one object writes to.
type singleObject[T metav1.Object] struct{ seen func(object T, exists bool) }

func (s singleObject[T]) Add(object any) error { return s.Update(object) }

func (s singleObject[T]) Update(object any) error {
	o, ok := object.(T)
	if !ok {
		return fmt.Errorf("the API server sent a %T, want a %T", object, o)
	}
	s.seen(o, true)
	return nil
}

func (s singleObject[T]) Delete(any) error {
	var none T
	s.seen(none, false)
	return nil
}

func (s singleObject[T]) Replace(objects []any, _ string) error {
	if len(objects) == 0 {
		return s.Delete(nil)
	}
	return s.Update(objects[0])
}

func (singleObject[T]) Resync() error { return nil }
