package survey

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/workload"
)

func TestPodsThatShouldHaveATokenVolume(t *testing.T) {
	no := false
	projected := corev1.Volume{Name: "x", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}},
	}}}
	with := func(change func(*corev1.PodSpec)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: corev1.PodSpec{ServiceAccountName: "app", Containers: []corev1.Container{{Name: "c"}}}}
		change(&p.Spec)
		return p
	}
	tests := []struct {
		name     string
		pod      *corev1.Pod
		pods, of int
	}{
		{"one without is told", with(func(*corev1.PodSpec) {}), 1, 1},
		{"one that has it is not", with(func(s *corev1.PodSpec) { s.Volumes = []corev1.Volume{projected} }), 0, 1},
		{"one that does not want it is not", with(func(s *corev1.PodSpec) { s.AutomountServiceAccountToken = &no }), 0, 0},
		{"one that mounts something of its own there is not", with(func(s *corev1.PodSpec) {
			s.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "own", MountPath: reference.AccountDirectory}}
		}), 0, 1},
		{"one of an account that is not known is not", with(func(s *corev1.PodSpec) { s.ServiceAccountName = "other" }), 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			without := newTokenless(listing.New())
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app"}}
			without.listing.Add(reference.ServiceAccount, account, cluster.ServiceAccount(account))
			without.visit(&listing.Item{Object: workload.ObjectOfPod(tt.pod), Meta: tt.pod}, report.Ref{})
			got := without.report()
			if without.pods != tt.pods || without.of != tt.of || (got != nil) != (tt.pods > 0) {
				t.Errorf("got %d of %d, want %d of %d", without.pods, without.of, tt.pods, tt.of)
			}
			if tt.pods > 0 && (!got.PluginOff || !strings.Contains(got.Message, "ServiceAccount admission plugin seems to be off")) {
				t.Errorf("%+v", got)
			}
		})
	}
}
