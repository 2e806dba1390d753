package rollup

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// stuckAfter is how long a pod may take to start before it counts as stuck.
const stuckAfter = time.Minute

// Stuck returns why and since when a pod is stuck; "" if it is not.
func Stuck(pod *corev1.Pod, now time.Time) (reason string, since time.Time) {
	reason = waitingFor(pod)
	if reason == "" {
		return "", time.Time{}
	}
	since = pod.CreationTimestamp.Time
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
			since = c.LastTransitionTime.Time
		}
	}
	if started := pod.Status.StartTime; started != nil { // when the kubelet took it on
		since = started.Time
	}
	if now.Sub(since) < stuckAfter {
		return "", time.Time{}
	}
	return reason, since
}

// waitingFor returns why a pod does not run, as kubectl shows it; "" if it runs,
// or waits for a node.
func waitingFor(pod *corev1.Pod) string {
	if pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return ""
	}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			w := list[i].State.Waiting
			if w == nil {
				continue
			}
			switch w.Reason {
			case "CreateContainerConfigError", "CreateContainerError", "ErrImagePull", "ImagePullBackOff", "ContainerCreating":
				return w.Reason
			}
		}
	}
	if pod.Status.Phase == corev1.PodPending && len(pod.Status.ContainerStatuses) == 0 {
		return "ContainerCreating" // what kubectl shows before the kubelet has reported
	}
	return ""
}
