package workload

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object is an object that exists, or is written down, with the pod that it
// stands for.
type Object struct {
	Kind      schema.GroupVersionKind
	Namespace string
	Name      string
	// Pod is nil where the object stands for none.
	Pod *Pod
	// Whole returns the object as decoded JSON; nil where that is unknown. It is
	// called only where a policy with conditions may match. Nobody writes to what
	// it returns.
	Whole func() map[string]any
}

// ObjectOfPod returns a Pod as an object.
func ObjectOfPod(pod *corev1.Pod) Object {
	kind := corev1.SchemeGroupVersion.WithKind("Pod")
	return Object{Kind: kind, Namespace: pod.Namespace, Name: pod.Name, Pod: OfPod(pod), Whole: WholeOf(pod, kind)}
}

// WholeOf returns a function for the field Whole of a typed object, whose kind
// lists leave out.
func WholeOf(object runtime.Object, kind schema.GroupVersionKind) func() map[string]any {
	return func() map[string]any {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			return nil
		}
		fields["apiVersion"], fields["kind"] = kind.ToAPIVersionAndKind()
		return fields
	}
}

// PodPath turns the path of a field of the object into the path of the same
// field in its pod: the same for a pod and for the template that it came from.
func (o *Object) PodPath(path string) string { return strings.TrimPrefix(path, o.Pod.Prefix) }
