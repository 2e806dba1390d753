package listing

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"tokenward.dev/tokenward/pkg/facts"
)

// sortedKeys returns the keys of maps, without the memory that the objects are in.
func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, strings.Clone(k))
	}
	slices.Sort(keys)
	return keys
}

func deletionTime(o metav1.Object) time.Time {
	if d := o.GetDeletionTimestamp(); d != nil {
		return d.Time
	}
	return time.Time{}
}

// reduce returns what the metadata of an object that exists tells.
func reduce(o metav1.Object) *object {
	return &object{state: facts.Present, uid: strings.Clone(string(o.GetUID())), deleting: deletionTime(o)}
}

func reduceSecret(s *corev1.Secret, t *Trust) *object {
	k := reduce(s)
	k.keys, k.secret = sortedKeys(s.Data), t.reduce(s)
	return k
}

func reduceConfigMap(m *corev1.ConfigMap) *object {
	k := reduce(m)
	k.keys = sortedKeys(m.Data)
	if len(m.BinaryData) > 0 {
		k.keys = append(k.keys, sortedKeys(m.BinaryData)...)
		slices.Sort(k.keys)
	}
	return k
}

func reduceAccount(a *corev1.ServiceAccount) *object {
	k := reduce(a)
	k.account = facts.ReadAccount(a)
	return k
}

func reduceNamespace(ns *corev1.Namespace) (*object, error) {
	k := reduce(ns)
	k.labels = ns.Labels
	ns.ManagedFields = nil
	whole, err := runtime.DefaultUnstructuredConverter.ToUnstructured(ns)
	if err != nil {
		return k, err
	}
	whole["apiVersion"], whole["kind"] = "v1", "Namespace"
	k.whole = whole
	return k, nil
}

func reduceClass(u *unstructured.Unstructured) *object {
	k := reduce(u)
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
