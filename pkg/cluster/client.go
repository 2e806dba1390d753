package cluster

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// Client reads single objects, each by the cheapest way that tells enough.
type Client struct {
	// Core, Metadata and Dynamic are clients of the same API server.
	Core     kubernetes.Interface
	Metadata metadata.Interface
	Dynamic  dynamic.Interface

	reducer Reducer
}

// NewClient returns a Client for the API server of config. How fast it may ask is
// the config's to say.
func NewClient(config *rest.Config, reducer Reducer) (*Client, error) {
	typed := rest.CopyConfig(config)
	typed.ContentType = runtime.ContentTypeProtobuf
	typed.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	core, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	meta, err := metadata.NewForConfig(metadata.ConfigFor(config))
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	return &Client{Core: core, Metadata: meta, Dynamic: dyn, reducer: reducer}, nil
}

// Get reads an object. contents asks for what it holds, too. The error is the
// API server's; see Unanswered.
func (c *Client) Get(ctx context.Context, o facts.Object, contents bool) (*Object, error) {
	if !mayExist(o) { // nobody need be asked
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: string(o.Kind)}, o.Name)
	}
	found, err := c.get(ctx, o, contents)
	if err != nil {
		return nil, err
	}
	found.Contents = found.Contents || contents // of the other kinds metadata is all that counts
	return found, nil
}

// mayExist reports whether an object can have that name: API servers take no other.
func mayExist(o facts.Object) bool {
	switch o.Kind {
	case reference.Secret, reference.ConfigMap, reference.ServiceAccount, reference.SecretProviderClass, facts.Namespace:
		return len(o.Name) <= validation.DNS1123SubdomainMaxLength && len(validation.IsDNS1123Subdomain(o.Name)) == 0
	default:
		return true
	}
}

func (c *Client) get(ctx context.Context, o facts.Object, contents bool) (*Object, error) {
	core, options := c.Core.CoreV1(), metav1.GetOptions{}
	switch o.Kind {
	case reference.Secret:
		if !contents {
			return c.metadata(ctx, corev1.SchemeGroupVersion.WithResource("secrets"), o)
		}
		return reduced(c.reducer.Secret)(core.Secrets(o.Namespace).Get(ctx, o.Name, options))
	case reference.ConfigMap:
		if !contents {
			return c.metadata(ctx, corev1.SchemeGroupVersion.WithResource("configmaps"), o)
		}
		return reduced(ConfigMap)(core.ConfigMaps(o.Namespace).Get(ctx, o.Name, options))
	case reference.ServiceAccount:
		if !contents {
			return c.metadata(ctx, corev1.SchemeGroupVersion.WithResource("serviceaccounts"), o)
		}
		return reduced(ServiceAccount)(core.ServiceAccounts(o.Namespace).Get(ctx, o.Name, options))
	case facts.Pod:
		return c.metadata(ctx, corev1.SchemeGroupVersion.WithResource("pods"), o)
	case facts.Node:
		return c.metadata(ctx, corev1.SchemeGroupVersion.WithResource("nodes"), o)
	case facts.Namespace:
		return reduced(Namespace)(c.Dynamic.Resource(corev1.SchemeGroupVersion.WithResource("namespaces")).Get(ctx, o.Name, options))
	case facts.SigningKey, facts.ServingCertificate:
		return c.look(ctx, o)
	case reference.ClusterTrustBundle:
		return c.trustBundle(ctx, o)
	case reference.SecretProviderClass:
		class, err := c.Dynamic.Resource(ProviderClasses()).Namespace(o.Namespace).Get(ctx, o.Name, options)
		if err != nil {
			return nil, err
		}
		return ProviderClass(class)
	default:
		return nil, fmt.Errorf("no way to read a %s", o.Kind)
	}
}

// reduced returns what a client's answer is reduced to.
func reduced[T any](reduce func(T) *Object) func(T, error) (*Object, error) {
	return func(answer T, err error) (*Object, error) {
		if err != nil {
			return nil, err
		}
		return reduce(answer), nil
	}
}

// metadata reads the metadata alone: data stays in the API server.
func (c *Client) metadata(ctx context.Context, resource schema.GroupVersionResource, o facts.Object) (*Object, error) {
	m, err := c.Metadata.Resource(resource).Namespace(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return Metadata(m), nil
}

// ProviderClasses is the resource of the Secrets Store CSI driver.
func ProviderClasses() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "secrets-store.csi.x-k8s.io", Version: "v1", Resource: "secretproviderclasses"}
}

// TrustBundles are tried in turn: which one is served depends on the Kubernetes
// version and on feature gates.
func TrustBundles() []schema.GroupVersionResource {
	group := schema.GroupVersionResource{Group: "certificates.k8s.io", Resource: "clustertrustbundles"}
	var all []schema.GroupVersionResource
	for _, v := range []string{"v1", "v1beta1", "v1alpha1"} {
		group.Version = v
		all = append(all, group)
	}
	return all
}

func (c *Client) trustBundle(ctx context.Context, o facts.Object) (found *Object, err error) {
	for _, resource := range TrustBundles() {
		if o.SignerName == "" {
			found, err = c.metadata(ctx, resource, o)
		} else {
			found, err = &Object{}, c.trustBundles(ctx, resource, o)
		}
		if err == nil || Unanswered(o.Name, err).Why != facts.NotServed {
			return found, err
		}
	}
	return found, err
}

// trustBundles asks for one bundle of a signer. None is "not found".
func (c *Client) trustBundles(ctx context.Context, resource schema.GroupVersionResource, o facts.Object) error {
	notFound := apierrors.NewNotFound(resource.GroupResource(), o.Name)
	if o.Labels == reference.NoLabels {
		return notFound
	}
	list, err := c.Metadata.Resource(resource).List(ctx, metav1.ListOptions{
		LabelSelector: o.Labels, FieldSelector: fields.OneTermEqualSelector("spec.signerName", o.SignerName).String(), Limit: 1,
	})
	if err == nil && len(list.Items) == 0 {
		return notFound
	}
	return err
}

// look answers by a look at what the API server publishes and presents that starts
// now, or is shared with others that did not start before.
func (c *Client) look(ctx context.Context, o facts.Object) (*Object, error) {
	if err := c.reducer.Trust.Refresh(ctx, time.Now()); err != nil {
		return nil, err
	}
	state := facts.Present
	if o.Kind == facts.SigningKey {
		state = c.reducer.Trust.Key(o.Name)
	}
	return &Object{KeyState: &state, Generation: c.reducer.Trust.Trust().Generation()}, nil
}
