package servingcert

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	client "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
)

// fieldManager is the name under which the API server records our changes.
const fieldManager = "tokenward"

// registration is a webhook configuration. It says whom the API server trusts.
type registration struct {
	kind, name string
	follow     func(ctx context.Context, seen func(), failed func(error))
	// patch also notes the result.
	patch func(ctx context.Context, patch []byte) error

	mu    sync.Mutex
	known bool // it has been read
	// version and bundles, one for each webhook, are those that were read last.
	version string
	bundles [][]byte
	refused string // the version that a patch was last refused for
}

// patcher reads and patches webhook configurations of one kind.
type patcher[T metav1.Object, L runtime.Object] interface {
	lister[L]
	Patch(ctx context.Context, name string, pt types.PatchType, data []byte, options metav1.PatchOptions, subresources ...string) (T, error)
}

func validating(c client.ValidatingWebhookConfigurationInterface, name string) *registration {
	return newRegistration("ValidatingWebhookConfiguration", name, c, func(o *admissionregistrationv1.ValidatingWebhookConfiguration) [][]byte {
		bundles := make([][]byte, len(o.Webhooks))
		for i := range o.Webhooks {
			bundles[i] = o.Webhooks[i].ClientConfig.CABundle
		}
		return bundles
	})
}

func mutating(c client.MutatingWebhookConfigurationInterface, name string) *registration {
	return newRegistration("MutatingWebhookConfiguration", name, c, func(o *admissionregistrationv1.MutatingWebhookConfiguration) [][]byte {
		bundles := make([][]byte, len(o.Webhooks))
		for i := range o.Webhooks {
			bundles[i] = o.Webhooks[i].ClientConfig.CABundle
		}
		return bundles
	})
}

func newRegistration[T metav1.Object, L runtime.Object](kind, name string, c patcher[T, L], bundles func(T) [][]byte) *registration {
	r := &registration{kind: kind, name: name}
	note := func(object T, exists bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.known, r.version, r.bundles = true, "", nil
		if exists {
			r.version, r.bundles = object.GetResourceVersion(), bundles(object)
		}
	}
	r.follow = func(ctx context.Context, seen func(), failed func(error)) {
		follow[T, L](ctx, c, name, func(object T, exists bool) {
			note(object, exists)
			seen()
		}, failed)
	}
	r.patch = func(ctx context.Context, patch []byte) error {
		object, err := c.Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		if err == nil {
			note(object, true)
		}
		return err
	}
	return r
}

// apply patches the configuration, and reports whether it did. If the configuration
// changed meanwhile it did not. That is no error: the watch brings the new version.
func (r *registration) apply(ctx context.Context, patch []byte) (bool, error) {
	r.mu.Lock()
	version := r.version
	r.mu.Unlock()
	err := r.patch(ctx, patch)
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return false, nil
	case !apierrors.IsInvalid(err):
		return false, err
	}
	// This is the answer to a test in the patch that fails, and also to a patch that
	// the API server will never accept.
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused == version {
		return false, err
	}
	r.refused = version
	return false, nil
}

// trusts reports whether every webhook of the configuration trusts an authority. A
// configuration that does not exist delays nothing. One that has not been read yet
// trusts nothing.
func (r *registration) trusts(cert *x509.Certificate) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known && !slices.ContainsFunc(r.bundles, func(bundle []byte) bool {
		return !slices.ContainsFunc(blocks(bundle, "CERTIFICATE"), func(der []byte) bool { return bytes.Equal(der, cert.Raw) })
	})
}

// caBundlePatch returns the patch that sets caBundle to what bundle makes of it, or
// nil. It changes nothing else, and applies only to the version that was read last.
func (r *registration) caBundlePatch(bundle func(have []byte) []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	operations := []operation{{Op: "test", Path: "/metadata/resourceVersion", Value: r.version}}
	for i, have := range r.bundles {
		if want := bundle(have); !bytes.Equal(have, want) {
			operations = append(operations, operation{Op: "add", Path: fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", i), Value: want})
		}
	}
	if len(operations) == 1 {
		return nil, nil
	}
	patch, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("caBundle: %w", err)
	}
	return patch, nil
}
