package rollup

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAPodThatRunsIsNotStuckWhateverItsEvents(t *testing.T) {
	status := func(phase corev1.PodPhase, reason string) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n"}, Status: corev1.PodStatus{Phase: phase}}
		p.CreationTimestamp = metav1.NewTime(time.Unix(0, 0))
		state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
		if reason != "" {
			state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: state}}
		return p
	}
	unscheduled := status(corev1.PodPending, "")
	unscheduled.Spec.NodeName = ""
	tests := []struct {
		name string
		pod  *corev1.Pod
		now  int64
		want string
	}{
		{"a pod that runs", status(corev1.PodRunning, ""), 1000, ""},
		{"a pod that waits for a Secret", status(corev1.PodPending, "ContainerCreating"), 1000, "ContainerCreating"},
		{"a container that can't be configured, of a pod that runs", status(corev1.PodRunning, "CreateContainerConfigError"), 1000, "CreateContainerConfigError"},
		{"a pod that was made just now", status(corev1.PodPending, "ContainerCreating"), 30, ""},
		{"a container that crashes", status(corev1.PodRunning, "CrashLoopBackOff"), 1000, ""},
		{"a pod without a node", unscheduled, 1000, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, _ := Stuck(tt.pod, time.Unix(tt.now, 0)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
