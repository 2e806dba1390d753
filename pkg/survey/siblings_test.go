package survey

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/workload"
)

func TestSiblingsAreToldApartByWhatIsJudged(t *testing.T) {
	s := newSiblings()
	looks := func(pod *corev1.Pod) likeness {
		known, ok := s.likeness(&listing.Item{Object: workload.ObjectOfPod(pod), Meta: pod})
		if !ok {
			t.Fatal("a pod with a controller has siblings")
		}
		return known
	}
	first := looks(benchPod("shop", 1, 7))
	tests := []struct {
		name   string
		change func(*corev1.Pod)
		same   bool
	}{
		{"another of the same template", func(*corev1.Pod) {}, true},
		{"on another node", func(p *corev1.Pod) { p.Spec.NodeName = "n" }, true},
		{"with another label", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "other"} }, false},
		{"with an annotation", func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "b"} }, false},
		{"with another Secret", func(p *corev1.Pod) { p.Spec.Volumes[1].Secret.SecretName = "other" }, false},
		{"in another namespace, with a controller that is not its own", func(p *corev1.Pod) { p.Namespace = "bank" }, false},
		{"of another controller", func(p *corev1.Pod) { p.OwnerReferences[0].UID = "other" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod := benchPod("shop", 2, 7)
			tt.change(pod)
			if same := looks(pod) == first; same != tt.same {
				t.Errorf("same: %t, want %t", same, tt.same)
			}
		})
	}
	bare := benchPod("shop", 3, 7)
	bare.OwnerReferences = nil
	if _, ok := s.likeness(&listing.Item{Object: workload.ObjectOfPod(bare), Meta: bare}); ok {
		t.Error("a bare pod has no siblings")
	}
}
