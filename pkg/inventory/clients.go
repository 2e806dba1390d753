package inventory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/reference"
)

// clients read single objects, each by the cheapest way that tells enough.
type clients struct {
	core     kubernetes.Interface
	metadata metadata.Interface
	dynamic  dynamic.Interface

	signing       *signing
	verifications *prometheus.CounterVec
}

func newClients(config *rest.Config, signing *signing, m *metrics.Metrics) (*clients, error) {
	typed := rest.CopyConfig(config)
	typed.ContentType = runtime.ContentTypeProtobuf
	typed.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	core, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return nil, err
	}
	meta, err := metadata.NewForConfig(metadata.ConfigFor(config))
	if err != nil {
		return nil, err
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &clients{core: core, metadata: meta, dynamic: dyn, signing: signing, verifications: m.TokenVerifications}, nil
}

// got is what a read brought of an object that exists. Never a value.
type got struct {
	uid     types.UID
	version string
	keys    map[string]struct{}
	whole   *wholeObject // a Namespace
	names   []string

	deleting   time.Time
	secret     *facts.Secret
	account    *facts.Account
	generation uint64 // of the trust that tokens were checked with
}

// get reads an object. whole asks for what it holds, too. The error is the client's.
func (c *clients) get(ctx context.Context, o facts.Object, whole bool) (got, error) {
	switch o.Kind {
	case reference.Secret:
		if whole {
			s, err := c.core.CoreV1().Secrets(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
			if err != nil {
				return got{}, err
			}
			return *c.inside(s), nil
		}
		return c.meta(ctx, corev1.SchemeGroupVersion.WithResource("secrets"), o)
	case reference.ConfigMap:
		if whole {
			m, err := c.core.CoreV1().ConfigMaps(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
			if err != nil {
				return got{}, err
			}
			keys := keysOf(m.Data)
			for k := range m.BinaryData {
				keys[k] = struct{}{}
			}
			return got{uid: m.UID, version: m.ResourceVersion, keys: keys}, nil
		}
		return c.meta(ctx, corev1.SchemeGroupVersion.WithResource("configmaps"), o)
	case reference.ServiceAccount:
		if whole {
			a, err := c.core.CoreV1().ServiceAccounts(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
			if err != nil {
				return got{}, err
			}
			return got{uid: a.UID, version: a.ResourceVersion, deleting: deletion(a), account: facts.ReadAccount(a)}, nil
		}
		return c.meta(ctx, corev1.SchemeGroupVersion.WithResource("serviceaccounts"), o)
	case facts.Pod:
		return c.meta(ctx, corev1.SchemeGroupVersion.WithResource("pods"), o)
	case facts.Node:
		return c.meta(ctx, corev1.SchemeGroupVersion.WithResource("nodes"), o)
	case facts.Namespace:
		u, err := c.dynamic.Resource(corev1.SchemeGroupVersion.WithResource("namespaces")).Get(ctx, o.Name, metav1.GetOptions{})
		if err != nil {
			return got{}, err
		}
		return got{whole: wholeOf(u)}, nil
	case reference.ClusterTrustBundle:
		return c.trustBundle(ctx, o)
	case reference.SecretProviderClass:
		return c.providerClass(ctx, o)
	}
	return got{}, fmt.Errorf("no way to read a %s", o.Kind)
}

func keysOf[V any](data map[string]V) map[string]struct{} {
	keys := make(map[string]struct{}, len(data))
	for k := range data {
		keys[k] = struct{}{}
	}
	return keys
}

// meta reads the metadata alone: data stays in the API server.
func (c *clients) meta(ctx context.Context, resource schema.GroupVersionResource, o facts.Object) (got, error) {
	m, err := c.metadata.Resource(resource).Namespace(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	if err != nil {
		return got{}, err
	}
	return got{uid: m.UID, version: m.ResourceVersion, deleting: deletion(m)}, nil
}

// trustBundleVersions are tried in turn: which one is served depends on the
// Kubernetes version and on feature gates.
func trustBundleVersions() []schema.GroupVersionResource {
	group := schema.GroupVersionResource{Group: "certificates.k8s.io", Resource: "clustertrustbundles"}
	var all []schema.GroupVersionResource
	for _, v := range []string{"v1", "v1beta1", "v1alpha1"} {
		group.Version = v
		all = append(all, group)
	}
	return all
}

func (c *clients) trustBundle(ctx context.Context, o facts.Object) (found got, err error) {
	for _, resource := range trustBundleVersions() {
		if o.SignerName == "" {
			found, err = c.meta(ctx, resource, o)
		} else {
			err = c.trustBundles(ctx, resource, o)
		}
		if err == nil || unanswered(o.Name, err).Why != facts.NotServed {
			return found, err
		}
	}
	return found, err
}

// trustBundles asks for one bundle of a signer. None is "not found".
func (c *clients) trustBundles(ctx context.Context, resource schema.GroupVersionResource, o facts.Object) error {
	notFound := apierrors.NewNotFound(resource.GroupResource(), o.Name)
	if o.Labels == reference.NoLabels {
		return notFound
	}
	list, err := c.metadata.Resource(resource).List(ctx, metav1.ListOptions{
		LabelSelector: o.Labels, FieldSelector: fields.OneTermEqualSelector("spec.signerName", o.SignerName).String(), Limit: 1,
	})
	if err == nil && len(list.Items) == 0 {
		return notFound
	}
	return err
}

// providerClass reads which Secrets the Secrets Store CSI driver makes.
func (c *clients) providerClass(ctx context.Context, o facts.Object) (got, error) {
	resource := schema.GroupVersionResource{Group: "secrets-store.csi.x-k8s.io", Version: "v1", Resource: "secretproviderclasses"}
	class, err := c.dynamic.Resource(resource).Namespace(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	if err != nil {
		return got{}, err
	}
	objects, _, err := unstructured.NestedSlice(class.Object, "spec", "secretObjects")
	if err != nil {
		return got{}, fmt.Errorf("SecretProviderClass: %w", err)
	}
	var out got
	for _, item := range objects {
		if fields, ok := item.(map[string]any); ok {
			if name, _, _ := unstructured.NestedString(fields, "secretName"); name != "" {
				out.names = append(out.names, name)
			}
		}
	}
	slices.Sort(out.names)
	return out, nil
}
