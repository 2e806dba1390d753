package servingcert

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// watchFor bounds how long a watch whose connection is dead goes unnoticed.
	watchFor = time.Minute
	// retryAfter is how long to wait after an error; up to twice as long.
	retryAfter = 500 * time.Millisecond
)

// reader reads one kind of object.
type reader[T metav1.Object] interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (T, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// follow hands on every state of one object, nil where it does not exist, until
// the context ends. It needs the verbs get and watch alone, and by the field
// selector of the watch RBAC can limit them to the object's name.
func follow[T metav1.Object](ctx context.Context, from reader[T], name string, seen func(object T, exists bool), failed func(error)) {
	for ctx.Err() == nil {
		if err := followOnce(ctx, from, name, seen, failed); err != nil && ctx.Err() == nil {
			failed(err)
			select {
			case <-ctx.Done():
			case <-time.After(retryAfter + rand.N(retryAfter)):
			}
		}
	}
}

func followOnce[T metav1.Object](ctx context.Context, from reader[T], name string, seen func(T, bool), failed func(error)) error {
	object, err := from.Get(ctx, name, metav1.GetOptions{})
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
	switch {
	case err == nil:
		seen(object, true)
		options.ResourceVersion = object.GetResourceVersion()
	case apierrors.IsNotFound(err):
		// Without a version the watch begins with what exists then.
		seen(object, false)
	default:
		return err
	}
	seconds := int64(watchFor / time.Second)
	options.TimeoutSeconds = &seconds
	w, err := from.Watch(ctx, options)
	if err != nil {
		return err
	}
	defer w.Stop()
	failed(nil)
	for event := range w.ResultChan() {
		object, ok := event.Object.(T)
		switch {
		case event.Type == watch.Error:
			return apierrors.FromObject(event.Object)
		case !ok:
			return errors.New("the watch brought an object of another kind")
		case event.Type == watch.Deleted:
			var none T
			seen(none, false)
		case event.Type == watch.Added || event.Type == watch.Modified:
			seen(object, true)
		}
	}
	return nil
}
