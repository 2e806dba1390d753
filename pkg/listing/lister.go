// Package listing lists what a cluster has: pods and templates, visited page by
// page; and, as a store that answers queries, everything that facts are made of.
// It also finds out who uses what in a namespace (package usage).
//
// It may import packages cluster, source, facts, reference, usage and workload, and
// nothing else of ours.
package listing

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/workload"
)

// Lister lists objects by pages.
type Lister struct {
	*cluster.Client
	templates workload.Templates
}

// NewLister returns a Lister that asks through a client, which also says how fast it
// may.
func NewLister(client *cluster.Client, templates workload.Templates) *Lister {
	return &Lister{Client: client, templates: templates}
}

// PageSize is how many objects are asked for at a time.
const PageSize = 500

// List lists one page.
type List func(context.Context, metav1.ListOptions) (runtime.Object, error)

// EachPage lists by pages and visits each.
func EachPage(ctx context.Context, list List, visit func(page runtime.Object) error) error {
	return eachSizedPage(ctx, PageSize, list, func(page runtime.Object) (int64, error) { return PageSize, visit(page) })
}

// eachSizedPage lists by pages and visits each. visit returns the size of the next
// page.
func eachSizedPage(ctx context.Context, limit int64, list List, visit func(page runtime.Object) (limit int64, err error)) error {
	options := metav1.ListOptions{Limit: limit}
	for {
		page, err := list(ctx, options)
		var status apierrors.APIStatus
		if apierrors.IsResourceExpired(err) && options.Continue != "" && errors.As(err, &status) && status.Status().Continue != "" {
			// The rest comes in a later state of the cluster: an audit can use that as well.
			options.Continue = status.Status().Continue
			continue
		}
		if err != nil {
			return err
		}
		if options.Limit, err = visit(page); err != nil {
			return err
		}
		listed, err := meta.ListAccessor(page)
		if err != nil {
			return err
		}
		if options.Continue = listed.GetContinue(); options.Continue == "" {
			return ctx.Err()
		}
	}
}

// TypedList returns a List of a resource that the client's scheme knows, in a
// namespace, or in all if that is empty.
func TypedList(client rest.Interface, resource, namespace string) List {
	return func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return client.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).
			VersionedParams(&options, scheme.ParameterCodec).Do(ctx).Get()
	}
}
