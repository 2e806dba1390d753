package audit

import (
	"context"
	"errors"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// maxPageBytes is from what size on the next page of Secrets or ConfigMaps, of
// which each may have 1 MB, is made smaller.
const maxPageBytes = 8 << 20

// load lists everything that facts are made of into a holding. A kind that may
// not be listed is unknown; the error of any other failure ends it.
type load struct {
	*Lister
	into      *Holding
	trust     *Trust
	namespace string // all if empty
	// value visits what Secrets and ConfigMaps hold, before it is dropped.
	value func(owner Ref, key string, value []byte)
	// refused gets what could not be listed.
	refused func(what string, err error)
	// progress counts.
	progress func(what string, n int)
}

func (l *load) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{l.namespaces, l.accounts, l.configMaps, l.secrets, l.classes, l.bundles} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// done notes how the list of a kind ended.
func (l *load) done(kind reference.Kind, what, namespace string, err error) error {
	why := whyNot(err)
	if why == facts.Failed {
		return err
	}
	if why == facts.Forbidden {
		l.refused(what, err)
	}
	l.into.complete(kind, namespace, why)
	return nil
}

// whyNot says what becomes of facts for an error; Failed where it is none of
// those that stay the same when it is tried again.
func whyNot(err error) facts.Why {
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

func (l *load) namespaces(ctx context.Context) error {
	core := l.core.CoreV1()
	if l.namespace != "" {
		ns, err := core.Namespaces().Get(ctx, l.namespace, metav1.GetOptions{})
		switch {
		case err == nil:
			l.putNamespace(ns)
		case apierrors.IsForbidden(err):
			l.into.put(facts.Object{Kind: facts.Namespace, Name: l.namespace}, &kept{why: facts.Forbidden, live: true})
			l.refused("the namespace", err)
		default: // one that does not exist has no faults, but is hardly what was asked for
			return err
		}
		return nil
	}
	err := pages(ctx, pageSize, typed(core.RESTClient(), "namespaces", ""), func(page runtime.Object) (int64, error) {
		return pageSize, meta.EachListItem(page, func(o runtime.Object) error {
			if ns, ok := o.(*corev1.Namespace); ok {
				l.putNamespace(ns)
			}
			return nil
		})
	})
	return l.done(facts.Namespace, "namespaces", "", err)
}

func (l *load) putNamespace(ns *corev1.Namespace) {
	ns.ManagedFields = nil
	k := held(ns)
	k.labels = ns.Labels
	if whole, err := runtime.DefaultUnstructuredConverter.ToUnstructured(ns); err == nil {
		whole["apiVersion"], whole["kind"] = "v1", "Namespace"
		k.whole = whole
	}
	l.into.put(facts.Object{Kind: facts.Namespace, Name: ns.Name}, k)
}

func (l *load) accounts(ctx context.Context) error {
	n := 0
	err := pages(ctx, pageSize, typed(l.core.CoreV1().RESTClient(), "serviceaccounts", l.namespace), func(page runtime.Object) (int64, error) {
		list, _ := page.(*corev1.ServiceAccountList)
		for i := range list.Items {
			a := &list.Items[i]
			l.into.put(object(reference.ServiceAccount, a), heldAccount(a))
		}
		n += len(list.Items)
		l.progress("accounts", n)
		return pageSize, nil
	})
	return l.done(reference.ServiceAccount, "service accounts", l.namespace, err)
}

func object(kind reference.Kind, o metav1.Object) facts.Object {
	return facts.Object{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// nextLimit keeps pages of large objects small.
func nextLimit(limit int64, bytes int) int64 {
	switch {
	case bytes > maxPageBytes:
		return max(10, limit/4)
	case bytes < maxPageBytes/4:
		return min(pageSize, limit*2)
	}
	return limit
}

// firstLimit is the size of the first page of Secrets and of ConfigMaps.
const firstLimit = 100

func (l *load) secrets(ctx context.Context) error {
	n, limit := 0, int64(firstLimit)
	err := pages(ctx, limit, typed(l.core.CoreV1().RESTClient(), "secrets", l.namespace), func(page runtime.Object) (int64, error) {
		list, _ := page.(*corev1.SecretList)
		bytes := 0
		for i := range list.Items {
			s := &list.Items[i]
			l.into.put(object(reference.Secret, s), heldSecret(s, l.trust))
			for key, value := range s.Data {
				bytes += len(value)
				l.value(Ref{APIVersion: "v1", Kind: "Secret", Namespace: s.Namespace, Name: s.Name, UID: string(s.UID)}, key, value)
			}
		}
		n += len(list.Items)
		l.progress("Secrets", n)
		limit = nextLimit(limit, bytes)
		return limit, nil
	})
	return l.done(reference.Secret, "Secrets", l.namespace, err)
}

func (l *load) configMaps(ctx context.Context) error {
	n, limit := 0, int64(firstLimit)
	err := pages(ctx, limit, typed(l.core.CoreV1().RESTClient(), "configmaps", l.namespace), func(page runtime.Object) (int64, error) {
		list, _ := page.(*corev1.ConfigMapList)
		bytes := 0
		for i := range list.Items {
			m := &list.Items[i]
			l.into.put(object(reference.ConfigMap, m), heldConfigMap(m))
			owner := Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: m.Namespace, Name: m.Name, UID: string(m.UID)}
			for key, value := range m.Data {
				bytes += len(value)
				l.value(owner, key, []byte(value))
			}
			for key, value := range m.BinaryData {
				bytes += len(value)
				l.value(owner, key, value)
			}
		}
		n += len(list.Items)
		l.progress("ConfigMaps", n)
		limit = nextLimit(limit, bytes)
		return limit, nil
	})
	return l.done(reference.ConfigMap, "ConfigMaps", l.namespace, err)
}

// classes lists the SecretProviderClasses: the Secrets that they make are
// provided.
func (l *load) classes(ctx context.Context) error {
	resource := schema.GroupVersionResource{Group: "secrets-store.csi.x-k8s.io", Version: "v1", Resource: "secretproviderclasses"}
	list := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return l.dynamic.Resource(resource).Namespace(l.namespace).List(ctx, options)
	}
	err := pages(ctx, pageSize, list, func(page runtime.Object) (int64, error) {
		return pageSize, meta.EachListItem(page, func(o runtime.Object) error {
			if u, ok := o.(*unstructured.Unstructured); ok {
				l.into.put(object(reference.SecretProviderClass, u), heldClass(u))
			}
			return nil
		})
	})
	return l.done(reference.SecretProviderClass, "SecretProviderClasses", l.namespace, err)
}

func heldClass(u *unstructured.Unstructured) *kept {
	k := held(u)
	objects, _, _ := unstructured.NestedSlice(u.Object, "spec", "secretObjects")
	for _, o := range objects {
		if fields, ok := o.(map[string]any); ok {
			if name, _, _ := unstructured.NestedString(fields, "secretName"); name != "" {
				k.names = append(k.names, name)
			}
		}
	}
	slices.Sort(k.names)
	return k
}

// bundleVersions are tried in turn: which one is served depends on the
// Kubernetes version and on feature gates.
func bundleVersions() []schema.GroupVersionResource {
	var all []schema.GroupVersionResource
	for _, v := range []string{"v1", "v1beta1", "v1alpha1"} {
		all = append(all, schema.GroupVersionResource{Group: "certificates.k8s.io", Version: v, Resource: "clustertrustbundles"})
	}
	return all
}

func (l *load) bundles(ctx context.Context) error {
	var err error
	for _, resource := range bundleVersions() {
		list := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return l.dynamic.Resource(resource).List(ctx, options)
		}
		err = pages(ctx, firstLimit, list, func(page runtime.Object) (int64, error) {
			return firstLimit, meta.EachListItem(page, func(o runtime.Object) error {
				if u, ok := o.(*unstructured.Unstructured); ok {
					signer, _, _ := unstructured.NestedString(u.Object, "spec", "signerName")
					l.into.put(facts.Object{Kind: reference.ClusterTrustBundle, Name: u.GetName()}, held(u))
					l.into.addBundle(bundle{name: u.GetName(), signer: signer, labels: u.GetLabels()})
				}
				return nil
			})
		})
		if whyNot(err) != facts.NotServed {
			break
		}
	}
	return l.done(reference.ClusterTrustBundle, "ClusterTrustBundles", "", err)
}
