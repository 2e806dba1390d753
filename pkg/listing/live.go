package listing

import (
	"context"
	"errors"
	"net/http"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// parallelReads is how many single objects are read at a time.
const parallelReads = 8

// Confirm reads objects live into a store.
func (l *Lister) Confirm(ctx context.Context, into *Listing, trust *Trust, objects []facts.Object) error {
	var group errgroup.Group
	group.SetLimit(parallelReads)
	for _, o := range objects {
		group.Go(func() error {
			into.put(o, l.read(ctx, o, trust))
			return nil
		})
	}
	_ = group.Wait() // a read that fails is unknown, and no error
	return ctx.Err()
}

// read reads one object. What the API server does not say is unknown.
func (l *Lister) read(ctx context.Context, o facts.Object, trust *Trust) *object {
	k, err := l.get(ctx, o, trust)
	if err != nil {
		k = unanswered(o.Name, err)
	}
	k.live = true
	return k
}

// unanswered turns an error into what is known. Only the API server's own word
// that this very object does not exist makes it absent.
func unanswered(name string, err error) *object {
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status) && status.Status().Code == http.StatusNotFound:
		s := status.Status()
		if s.Reason == metav1.StatusReasonNotFound && s.Details != nil && s.Details.Name == name {
			return &object{state: facts.Absent}
		}
		return &object{why: facts.NotServed}
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return &object{why: facts.Forbidden}
	case errors.Is(err, context.DeadlineExceeded), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return &object{why: facts.Timeout}
	}
	return &object{why: facts.Failed}
}

// WhyUnlisted classifies the error of a list: NotAsked if there is none, Failed if
// another attempt may succeed, else the reason for which none will.
func WhyUnlisted(err error) facts.Why {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return facts.NotAsked
	case apierrors.IsForbidden(err):
		return facts.Forbidden
	case meta.IsNoMatchError(err), errors.As(err, &status) && status.Status().Code == http.StatusNotFound:
		return facts.NotServed
	}
	return facts.Failed
}

func (l *Lister) get(ctx context.Context, o facts.Object, trust *Trust) (*object, error) {
	core, options := l.core.CoreV1(), metav1.GetOptions{}
	switch o.Kind {
	case reference.Secret:
		s, err := core.Secrets(o.Namespace).Get(ctx, o.Name, options)
		if err != nil {
			return nil, err
		}
		return reduceSecret(s, trust), nil
	case reference.ConfigMap:
		m, err := core.ConfigMaps(o.Namespace).Get(ctx, o.Name, options)
		if err != nil {
			return nil, err
		}
		return reduceConfigMap(m), nil
	case reference.ServiceAccount:
		a, err := core.ServiceAccounts(o.Namespace).Get(ctx, o.Name, options)
		if err != nil {
			return nil, err
		}
		return reduceAccount(a), nil
	case facts.Namespace:
		ns, err := core.Namespaces().Get(ctx, o.Name, options)
		if err != nil {
			return nil, err
		}
		return reduceNamespace(ns)
	case reference.SecretProviderClass:
		u, err := l.dynamic.Resource(schema.GroupVersionResource{Group: "secrets-store.csi.x-k8s.io", Version: "v1", Resource: "secretproviderclasses"}).
			Namespace(o.Namespace).Get(ctx, o.Name, options)
		if err != nil {
			return nil, err
		}
		return reduceClass(u), nil
	case facts.Pod, facts.Node:
		resource := corev1.SchemeGroupVersion.WithResource("pods")
		if o.Kind == facts.Node {
			resource = corev1.SchemeGroupVersion.WithResource("nodes")
		}
		m, err := l.metadata.Resource(resource).Namespace(o.Namespace).Get(ctx, o.Name, options)
		if err != nil {
			return nil, err
		}
		return reduce(m), nil
	default: // ClusterTrustBundles
		return l.getBundle(ctx, o.Name)
	}
}

func (l *Lister) getBundle(ctx context.Context, name string) (k *object, err error) {
	for _, resource := range bundleVersions() {
		m, err := l.metadata.Resource(resource).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			return reduce(m), nil
		}
		if unanswered(name, err).why != facts.NotServed {
			return nil, err
		}
	}
	return nil, apierrors.NewGenericServerResponse(http.StatusNotFound, "get", schema.GroupResource{Resource: "clustertrustbundles"}, "", "", 0, true)
}
