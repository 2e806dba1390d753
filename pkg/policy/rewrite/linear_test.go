package rewrite_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tokenVolumes returns a pod with so many volumes of token Secrets, each mounted.
func tokenVolumes(t *testing.T, n int) []byte {
	t.Helper()
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "large"}, Spec: corev1.PodSpec{ServiceAccountName: "default", Containers: make([]corev1.Container, 1)}}
	c := &pod.Spec.Containers[0]
	c.Name = "app"
	for i := range n {
		name := fmt.Sprintf("v%d", i)
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "default-token-abcde"}}})
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
	}
	text, err := json.Marshal(&pod)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What takes ten times as long for ten times as much is linear; a square would take a
// hundred times as long.
func TestChangingIsLinear(t *testing.T) {
	s := snapshot(t, []string{"longLivedTokenVolumes: {project: Existing}"})
	const n, times = 1000, 10
	took := func(n int) time.Duration {
		object := tokenVolumes(t, n)
		began := time.Now()
		if result := changesOf(t, s, object); len(result.Operations) < n {
			t.Fatalf("%d of %d volumes were changed", len(result.Operations), n)
		}
		return time.Since(began)
	}
	few, many := time.Duration(0), time.Hour
	for try := 0; many > 2*times*few; try++ {
		if try == 5 {
			t.Fatalf("%s for %d, %s for %d", few, n, many, n*times)
		}
		few, many = max(few, took(n)), min(many, took(n*times))
	}
}
