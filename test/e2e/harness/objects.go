package harness

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/cluster"
)

// NewNamespace makes a namespace and waits until pods can be created in it.
func (e *Env) NewNamespace(t *testing.T) string {
	t.Helper()
	ns, err := e.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e.WaitForAccount(t, ns.Name)
	t.Cleanup(func() {
		_ = e.Client.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
	})
	return ns.Name
}

// WaitForAccount waits until a namespace has what every pod gets.
func (e *Env) WaitForAccount(t *testing.T, namespace string) {
	t.Helper()
	err := cluster.Eventually(t.Context(), Patience, func(ctx context.Context) error {
		if _, err := e.Client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return err
		}
		_, err := e.Client.CoreV1().ConfigMaps(namespace).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// CreateSecret makes a Secret with some keys.
func (e *Env) CreateSecret(t *testing.T, namespace, name string, keys ...string) {
	t.Helper()
	data := map[string][]byte{}
	for _, k := range keys {
		data[k] = []byte("x")
	}
	_, err := e.Client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// Pod builds a pod with one container.
func Pod(name string, change ...func(*corev1.PodSpec)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.test/main:1"}}},
	}
	for _, c := range change {
		c(&p.Spec)
	}
	return p
}

// RunAs gives a pod a service account.
func RunAs(name string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) { s.ServiceAccountName = name }
}

// SecretVolume mounts a Secret as a volume.
func SecretVolume(name string, optional bool) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		volume := corev1.Volume{Name: fmt.Sprintf("v%d", len(s.Volumes))}
		volume.Secret = &corev1.SecretVolumeSource{SecretName: name}
		if optional {
			volume.Secret.Optional = &optional
		}
		s.Volumes = append(s.Volumes, volume)
		s.Containers[0].VolumeMounts = append(s.Containers[0].VolumeMounts, corev1.VolumeMount{
			Name: volume.Name, MountPath: "/mnt/" + volume.Name,
		})
	}
}

// ConfigVolume mounts a ConfigMap as a volume.
func ConfigVolume(name string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		volume := corev1.Volume{Name: fmt.Sprintf("v%d", len(s.Volumes))}
		volume.ConfigMap = &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}
		s.Volumes = append(s.Volumes, volume)
		s.Containers[0].VolumeMounts = append(s.Containers[0].VolumeMounts, corev1.VolumeMount{Name: volume.Name, MountPath: "/mnt/" + volume.Name})
	}
}

// SecretVariable reads a key of a Secret into an environment variable.
func SecretVariable(name, key string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Containers[0].Env = append(s.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", len(s.Containers[0].Env)), ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key},
		}})
	}
}

// All makes several changes one.
func All(changes ...func(*corev1.PodSpec)) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		for _, c := range changes {
			c(s)
		}
	}
}

// Deployment builds a Deployment of such pods.
func Deployment(name string, replicas int, change func(*corev1.PodSpec)) *appsv1.Deployment {
	n := int32(replicas)
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	d.Spec.Replicas, d.Spec.Selector = &n, &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template.Labels, d.Spec.Template.Spec = labels, Pod(name, change).Spec
	return d
}
