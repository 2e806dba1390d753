package cluster

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/trust"
)

// Reducer reduces objects to what may be kept of them.
type Reducer struct {
	// Trust verifies the tokens and CAs of Secrets.
	Trust *trust.Follower
	// Verifications counts tokens by what the signature says; nil if nobody counts.
	Verifications *prometheus.CounterVec
}

// Metadata reduces an object of which nothing but the metadata is known or wanted.
func Metadata(m metav1.Object) *Object { return newObject(m) }

// Secret reduces a Secret, and checks the tokens in it.
func (r *Reducer) Secret(s *corev1.Secret) *Object {
	t, now := r.Trust.Trust(), time.Now()
	o := newObject(s)
	o.Contents, o.Keys, o.Generation = true, sortedKeys(s.Data), t.Generation()
	o.Secret = facts.ReadSecret(s, t.Keys(), func(ca []byte) facts.State { return t.CA(ca, now) })
	for i := range o.Secret.Tokens {
		found := &o.Secret.Tokens[i]
		verdict := found.Signature.Verdict
		if found.Broken.Reason != "" {
			verdict = found.Broken.Verdict
		}
		if r.Verifications != nil {
			r.Verifications.WithLabelValues(verdict.String()).Inc()
		}
		if found.Signature.Reason == token.KeyUnsettled {
			r.Trust.Meet(found.SigningKey, s.Namespace)
		}
	}
	return o
}

// ConfigMap reduces a ConfigMap.
func ConfigMap(m *corev1.ConfigMap) *Object {
	o := newObject(m)
	o.Contents, o.Keys, o.Binary = true, sortedKeys(m.Data), sortedKeys(m.BinaryData)
	o.Keys = append(o.Keys, o.Binary...)
	slices.Sort(o.Keys)
	return o
}

// ServiceAccount reduces an account.
func ServiceAccount(a *corev1.ServiceAccount) *Object {
	o := newObject(a)
	o.Contents, o.Account = true, facts.ReadAccount(a)
	return o
}

// Namespace takes over a Namespace, of which conditions see all but managedFields.
// It keeps the object.
func Namespace(u *unstructured.Unstructured) *Object {
	u.SetManagedFields(nil)
	o := newObject(u)
	o.Labels, o.Whole = u.GetLabels(), u.Object
	return o
}

// ProviderClass reduces a SecretProviderClass to the names of the Secrets that the
// Secrets Store CSI driver makes.
func ProviderClass(u *unstructured.Unstructured) (*Object, error) {
	o := newObject(u)
	objects, _, err := unstructured.NestedSlice(u.Object, "spec", "secretObjects")
	if err != nil {
		return nil, fmt.Errorf("SecretProviderClass: %w", err)
	}
	for _, item := range objects {
		if fields, ok := item.(map[string]any); ok {
			if name, _, _ := unstructured.NestedString(fields, "secretName"); name != "" {
				o.Names = append(o.Names, name)
			}
		}
	}
	slices.Sort(o.Names)
	return o, nil
}
