package workload

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
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
	// Idle is set for a template that no more pods will be made from: see IsIdle.
	Idle bool
}

// ObjectOfPod returns a Pod as an object.
func ObjectOfPod(pod *corev1.Pod) Object {
	kind := corev1.SchemeGroupVersion.WithKind("Pod")
	return Object{Kind: kind, Namespace: pod.Namespace, Name: pod.Name, Pod: OfPod(pod), Whole: WholeOf(pod, kind)}
}

// IsIdle reports whether no more pods will be made from the template of an object: a
// ReplicaSet at 0, which is what a Deployment leaves of the past, and a Job that has
// ended. A Deployment at 0 will be scaled up again, a CronJob will start again.
func IsIdle(object runtime.Object) bool {
	switch o := object.(type) {
	case *appsv1.ReplicaSet:
		return o.Spec.Replicas != nil && *o.Spec.Replicas == 0
	case *batchv1.Job:
		return slices.ContainsFunc(o.Status.Conditions, func(c batchv1.JobCondition) bool {
			return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
		})
	}
	return false
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
