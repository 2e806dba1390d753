package listing

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// slim takes from a pod what no check looks at: most of it. Conditions see whole
// pods.
func slim(pod *corev1.Pod) {
	annotations := map[string]string{}
	if mirror, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]; ok {
		annotations[corev1.MirrorPodAnnotationKey] = mirror
	}
	pod.ObjectMeta = metav1.ObjectMeta{
		Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID, Labels: pod.Labels, Annotations: annotations,
		OwnerReferences: pod.OwnerReferences, DeletionTimestamp: pod.DeletionTimestamp,
	}
	ephemeral := make([]corev1.EphemeralContainer, len(pod.Spec.EphemeralContainers))
	for i := range pod.Spec.EphemeralContainers {
		slimmed := slimContainer((*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon))
		ephemeral[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(slimmed)
	}
	pod.Spec = corev1.PodSpec{
		Volumes: pod.Spec.Volumes, ServiceAccountName: pod.Spec.ServiceAccountName, ImagePullSecrets: pod.Spec.ImagePullSecrets,
		AutomountServiceAccountToken: pod.Spec.AutomountServiceAccountToken,
		InitContainers:               slimContainers(pod.Spec.InitContainers), Containers: slimContainers(pod.Spec.Containers),
		EphemeralContainers: ephemeral,
	}
	pod.Status = corev1.PodStatus{Phase: pod.Status.Phase}
}

func slimContainers(in []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, len(in))
	for i := range in {
		out[i] = slimContainer(&in[i])
	}
	return out
}

func slimContainer(c *corev1.Container) corev1.Container {
	env := make([]corev1.EnvVar, 0, len(c.Env))
	for i := range c.Env {
		if c.Env[i].ValueFrom != nil {
			env = append(env, corev1.EnvVar{Name: c.Env[i].Name, ValueFrom: c.Env[i].ValueFrom})
		} else {
			env = append(env, corev1.EnvVar{Name: c.Env[i].Name}) // so that paths stay right
		}
	}
	return corev1.Container{Name: c.Name, Env: env, EnvFrom: c.EnvFrom, VolumeMounts: c.VolumeMounts, VolumeDevices: c.VolumeDevices}
}
