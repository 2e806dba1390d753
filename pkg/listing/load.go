package listing

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// maxPageBytes is from what size on the next page of Secrets or ConfigMaps, of
// which each may have 1 MB, is made smaller.
const maxPageBytes = 8 << 20

// LoadOptions say what Load lists, and into what.
type LoadOptions struct {
	Into      *Listing
	Reducer   *cluster.Reducer
	Namespace string // all if empty
	// Value visits each value of a Secret or ConfigMap, of which nothing is kept.
	Value func(kind reference.Kind, owner metav1.Object, key string, value []byte)
	// Progress gets how many objects of a kind have been read.
	Progress func(what string, n int)
}

// Loaded says what Load has listed.
type Loaded struct {
	Accounts, Secrets, ConfigMaps int
	// Refused could not be listed for want of a right.
	Refused []Refusal
}

// Refusal is what could not be read, and why.
type Refusal struct {
	What string
	Err  error
}

type load struct {
	*Lister
	*LoadOptions
	Loaded
}

// Load lists everything that facts are made of into a store. A kind that may not
// be listed is unknown; the error of any other failure ends it.
func (l *Lister) Load(ctx context.Context, options *LoadOptions) (*Loaded, error) {
	load := &load{Lister: l, LoadOptions: options}
	for _, step := range []func(context.Context) error{load.namespaces, load.accounts, load.configMaps, load.secrets, load.classes, load.bundles} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return &load.Loaded, nil
}

// refuse notes what may not be read.
func (l *load) refuse(what string, err error) {
	l.Refused = append(l.Refused, Refusal{What: what, Err: err})
}

// done notes how the list of a kind ended.
func (l *load) done(kind reference.Kind, what, namespace string, err error) error {
	why := cluster.WhyNot(err)
	switch why {
	case facts.NoReason, facts.NotServed:
	case facts.Forbidden:
		l.refuse(what, err)
	default:
		return err
	}
	l.Into.SetListed(kind, namespace, why)
	return nil
}

func (l *load) namespaces(ctx context.Context) error {
	namespaces := l.Dynamic.Resource(corev1.SchemeGroupVersion.WithResource("namespaces"))
	if l.Namespace != "" {
		ns, err := namespaces.Get(ctx, l.Namespace, metav1.GetOptions{})
		switch {
		case err == nil:
			l.Into.Add(facts.Namespace, ns, cluster.Namespace(ns))
		case apierrors.IsForbidden(err):
			l.Into.put(facts.Object{Kind: facts.Namespace, Name: l.Namespace}, &object{absent: facts.Fact{Why: facts.Forbidden}, live: true})
			l.refuse("the namespace", err)
		default: // one that does not exist has no faults, but is hardly what was asked for
			return err
		}
		return nil
	}
	list := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return namespaces.List(ctx, options)
	}
	err := EachPage(ctx, list, func(page runtime.Object) error {
		return eachUnstructured(page, func(ns *unstructured.Unstructured) error {
			l.Into.Add(facts.Namespace, ns, cluster.Namespace(ns))
			return nil
		})
	})
	return l.done(facts.Namespace, "namespaces", "", err)
}

func eachUnstructured(page runtime.Object, visit func(*unstructured.Unstructured) error) error {
	return meta.EachListItem(page, func(o runtime.Object) error {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("unexpected %T", o)
		}
		return visit(u)
	})
}

func (l *load) accounts(ctx context.Context) error {
	err := EachPage(ctx, TypedList(l.Core.CoreV1().RESTClient(), "serviceaccounts", l.Namespace), func(page runtime.Object) error {
		list, _ := page.(*corev1.ServiceAccountList)
		for i := range list.Items {
			a := &list.Items[i]
			l.Into.Add(reference.ServiceAccount, a, cluster.ServiceAccount(a))
		}
		l.Accounts += len(list.Items)
		l.Progress("accounts", l.Accounts)
		return nil
	})
	return l.done(reference.ServiceAccount, "service accounts", l.Namespace, err)
}

// nextLimit keeps pages of large objects small.
func nextLimit(limit int64, bytes int) int64 {
	switch {
	case bytes > maxPageBytes:
		return max(10, limit/4)
	case bytes < maxPageBytes/4:
		return min(PageSize, limit*2)
	}
	return limit
}

// firstLimit is the size of the first page of Secrets and of ConfigMaps.
const firstLimit = 100

func (l *load) secrets(ctx context.Context) error {
	limit := int64(firstLimit)
	err := eachSizedPage(ctx, limit, TypedList(l.Core.CoreV1().RESTClient(), "secrets", l.Namespace), func(page runtime.Object) (int64, error) {
		list, _ := page.(*corev1.SecretList)
		bytes := 0
		for i := range list.Items {
			s := &list.Items[i]
			l.Into.Add(reference.Secret, s, l.Reducer.Secret(s))
			for key, value := range s.Data {
				bytes += len(value)
				l.Value(reference.Secret, s, key, value)
			}
		}
		l.Secrets += len(list.Items)
		l.Progress("Secrets", l.Secrets)
		limit = nextLimit(limit, bytes)
		return limit, nil
	})
	return l.done(reference.Secret, "Secrets", l.Namespace, err)
}

func (l *load) configMaps(ctx context.Context) error {
	limit := int64(firstLimit)
	err := eachSizedPage(ctx, limit, TypedList(l.Core.CoreV1().RESTClient(), "configmaps", l.Namespace), func(page runtime.Object) (int64, error) {
		list, _ := page.(*corev1.ConfigMapList)
		bytes := 0
		for i := range list.Items {
			m := &list.Items[i]
			l.Into.Add(reference.ConfigMap, m, cluster.ConfigMap(m))
			for key, value := range m.Data {
				bytes += len(value)
				l.Value(reference.ConfigMap, m, key, []byte(value))
			}
			for key, value := range m.BinaryData {
				bytes += len(value)
				l.Value(reference.ConfigMap, m, key, value)
			}
		}
		l.ConfigMaps += len(list.Items)
		l.Progress("ConfigMaps", l.ConfigMaps)
		limit = nextLimit(limit, bytes)
		return limit, nil
	})
	return l.done(reference.ConfigMap, "ConfigMaps", l.Namespace, err)
}

// classes lists the SecretProviderClasses: the Secrets that they make are
// provided.
func (l *load) classes(ctx context.Context) error {
	list := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return l.Dynamic.Resource(cluster.ProviderClasses()).Namespace(l.Namespace).List(ctx, options)
	}
	err := EachPage(ctx, list, func(page runtime.Object) error {
		return eachUnstructured(page, func(u *unstructured.Unstructured) error {
			class, err := cluster.ProviderClass(u)
			if err != nil {
				class = cluster.Metadata(u) // it makes nothing that could be told
			}
			l.Into.Add(reference.SecretProviderClass, u, class)
			return nil
		})
	})
	return l.done(reference.SecretProviderClass, "SecretProviderClasses", l.Namespace, err)
}

func (l *load) bundles(ctx context.Context) error {
	var err error
	for _, resource := range cluster.TrustBundles() {
		list := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return l.Dynamic.Resource(resource).List(ctx, options)
		}
		err = eachSizedPage(ctx, firstLimit, list, func(page runtime.Object) (int64, error) {
			return firstLimit, eachUnstructured(page, func(u *unstructured.Unstructured) error {
				signer, _, _ := unstructured.NestedString(u.Object, "spec", "signerName")
				l.Into.Add(reference.ClusterTrustBundle, u, cluster.Metadata(u))
				l.Into.addBundle(bundle{name: u.GetName(), signer: signer, labels: u.GetLabels()})
				return nil
			})
		})
		if cluster.WhyNot(err) != facts.NotServed {
			break
		}
	}
	return l.done(reference.ClusterTrustBundle, "ClusterTrustBundles", "", err)
}
