package policy

import (
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"tokenward.dev/tokenward/pkg/workload"
)

// passes names the rule by which an object is not judged at all, or "".
func (s *Snapshot) passes(r *Attributes) string {
	switch {
	case len(s.options.Namespaces) > 0 && !slices.Contains(s.options.Namespaces, r.Namespace):
		return "the namespace is not watched"
	case r.Pod == nil:
		return "the object stands for no pod"
	case r.Written != nil && isOfCluster(&r.UserInfo):
		return "what the cluster itself writes is never held up"
	case r.Namespace == "":
		return "the object is in no namespace, and what its pods point at is in theirs"
	case r.Operation == admissionv1.Delete:
		return "deletion is never held up"
	case r.Operation == admissionv1.Connect:
		return "a connection changes no pod"
	case r.SubResource != "" && r.SubResource != "ephemeralcontainers":
		// status and resize carry pods whose references can't have changed;
		// binding and eviction carry no pods.
		return "the subresource can't change references"
	case !r.Pod.Template && isMirror(r.Pod.Pod):
		// The API server refuses mirror pods that use Secrets or an account
		// (ServiceAccount plugin), so that the annotation opens no way around.
		return "a mirror pod is the kubelet's"
	case r.Operation == admissionv1.Update && r.Pod.DeletionTimestamp != nil:
		// Else finalizers could not be removed.
		return "the object is being deleted"
	case r.Pod.Controlled && isController(r.UserInfo.Username):
		return "the template of the object's controller was judged"
	case r.Operation == admissionv1.Update && r.Pod.Template && r.Old != nil && sameTemplate(r.Pod, r.Old):
		// Scaling, pausing and status are never held up.
		return "the template did not change"
	}
	return ""
}

// isController reports whether one of the controllers asks that make workloads of
// workloads: ReplicaSets of a Deployment, Jobs of a CronJob. Anybody else can write
// an ownerReference, too, and exempts nothing by it. The chart's matchConditions
// have the same list.
func isController(user string) bool {
	return slices.Contains([]string{
		"system:kube-controller-manager",
		"system:serviceaccount:kube-system:deployment-controller",
		"system:serviceaccount:kube-system:cronjob-controller",
	}, user)
}

func isMirror(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

func sameTemplate(a, b *workload.Pod) bool {
	return equality.Semantic.DeepEqual(a.Labels, b.Labels) && equality.Semantic.DeepEqual(a.Annotations, b.Annotations) &&
		equality.Semantic.DeepEqual(a.Spec, b.Spec)
}
