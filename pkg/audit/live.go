package audit

import (
	"context"
	"errors"
	"net/http"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// parallelReads is how many single objects are read at a time.
const parallelReads = 8

// confirm reads objects live into the holding.
func (l *Lister) confirm(ctx context.Context, h *Holding, trust *Trust, objects []facts.Object) error {
	var group sync.WaitGroup
	slots := make(chan struct{}, parallelReads)
	for _, o := range objects {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			h.put(o, l.read(ctx, o, trust))
		})
	}
	group.Wait()
	return ctx.Err()
}

// read reads one object. What the API server does not tell is unknown.
func (l *Lister) read(ctx context.Context, o facts.Object, trust *Trust) *kept {
	k, err := l.get(ctx, o, trust)
	if err != nil {
		k = unanswered(o.Name, err)
	}
	k.live = true
	return k
}

// unanswered turns an error into what is known. Only the API server's own word
// that this very object does not exist makes it absent.
func unanswered(name string, err error) *kept {
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status) && status.Status().Code == http.StatusNotFound:
		s := status.Status()
		if s.Reason == metav1.StatusReasonNotFound && s.Details != nil && s.Details.Name == name {
			return &kept{state: facts.Absent}
		}
		return &kept{why: facts.NotServed}
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return &kept{why: facts.Forbidden}
	case errors.Is(err, context.DeadlineExceeded), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return &kept{why: facts.Timeout}
	}
	return &kept{why: facts.Failed}
}

func (l *Lister) get(ctx context.Context, o facts.Object, trust *Trust) (*kept, error) {
	core, options := l.core.CoreV1(), metav1.GetOptions{}
	switch o.Kind {
	case reference.Secret:
		s, err := core.Secrets(o.Namespace).Get(ctx, o.Name, options)
		if err != nil {
			return nil, err
		}
		return heldSecret(s, trust), nil
	case reference.ConfigMap:
		m, err := core.ConfigMaps(o.Namespace).Get(ctx, o.Name, options)
		if err != nil {
			return nil, err
		}
		return heldConfigMap(m), nil
	case reference.ServiceAccount:
		a, err := core.ServiceAccounts(o.Namespace).Get(ctx, o.Name, options)
		if err != nil {
			return nil, err
		}
		return heldAccount(a), nil
	case facts.Namespace:
		ns, err := core.Namespaces().Get(ctx, o.Name, options)
		if err != nil {
			return nil, err
		}
		k := held(ns)
		k.labels = ns.Labels
		ns.ManagedFields = nil
		k.whole, err = runtime.DefaultUnstructuredConverter.ToUnstructured(ns)
		return k, err
	case reference.SecretProviderClass:
		u, err := l.dynamic.Resource(schema.GroupVersionResource{Group: "secrets-store.csi.x-k8s.io", Version: "v1", Resource: "secretproviderclasses"}).
			Namespace(o.Namespace).Get(ctx, o.Name, options)
		if err != nil {
			return nil, err
		}
		return heldClass(u), nil
	case facts.Pod, facts.Node:
		resource := corev1.SchemeGroupVersion.WithResource("pods")
		if o.Kind == facts.Node {
			resource = corev1.SchemeGroupVersion.WithResource("nodes")
		}
		m, err := l.metadata.Resource(resource).Namespace(o.Namespace).Get(ctx, o.Name, options)
		if err != nil {
			return nil, err
		}
		return held(m), nil
	default: // ClusterTrustBundles
		return l.getBundle(ctx, o.Name)
	}
}

func (l *Lister) getBundle(ctx context.Context, name string) (k *kept, err error) {
	for _, resource := range bundleVersions() {
		m, err := l.metadata.Resource(resource).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			return held(m), nil
		}
		if unanswered(name, err).why != facts.NotServed {
			return nil, err
		}
	}
	return nil, apierrors.NewGenericServerResponse(http.StatusNotFound, "get", schema.GroupResource{Resource: "clustertrustbundles"}, "", "", 0, true)
}
