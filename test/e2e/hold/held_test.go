package hold

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// waits is what a pod may be held for.
type waits struct {
	name   string
	change func(*corev1.PodSpec)
	before func(t *testing.T, ns string) // what is there already
	mend   func(t *testing.T, ns string)
}

func allWaits() []waits {
	none := func(*testing.T, string) {}
	return []waits{
		{"secret", harness.SecretVolume("db", false), none, func(t *testing.T, ns string) { env.CreateSecret(t, ns, "db", "user") }},
		{
			"key", harness.SecretVariable("db", "user"), func(t *testing.T, ns string) { env.CreateSecret(t, ns, "db", "other") },
			func(t *testing.T, ns string) {
				setKey(t, ns, "db", "user", "x")
			},
		},
		{"configmap", harness.ConfigVolume("settings"), none, func(t *testing.T, ns string) {
			_, err := env.Client.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}, metav1.CreateOptions{})
			fatal(t, err)
		}},
		{"configmap-key", configVariable("settings", "mode"), func(t *testing.T, ns string) {
			_, err := env.Client.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}, metav1.CreateOptions{})
			fatal(t, err)
		}, func(t *testing.T, ns string) {
			_, err := env.Client.CoreV1().ConfigMaps(ns).Update(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"mode": "x"}}, metav1.UpdateOptions{})
			fatal(t, err)
		}},
		{"empty-token", harness.SecretVolume("robot", false), emptyToken, func(t *testing.T, ns string) {
			_, err := env.Client.CoreV1().ServiceAccounts(ns).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
			fatal(t, err)
			setKey(t, ns, "robot", "token", env.AccountToken(t, ns))
		}},
		{"dead-token", harness.SecretVolume("robot", false), deadToken, func(t *testing.T, ns string) {
			setKey(t, ns, "robot", "token", env.AccountToken(t, ns))
		}},
		{"trust-bundle", bundleVolume("hold-bundle"), none, func(t *testing.T, _ string) {
			_, err := bundles().Create(t.Context(), bundle("hold-bundle", harness.WriteCertificate(t, t.TempDir())), metav1.CreateOptions{})
			fatal(t, err)
			t.Cleanup(func() { _ = bundles().Delete(context.Background(), "hold-bundle", metav1.DeleteOptions{}) })
		}},
	}
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func configVariable(name, key string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Containers[0].Env = append(s.Containers[0].Env, corev1.EnvVar{Name: "C", ValueFrom: &corev1.EnvVarSource{
			ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key},
		}})
	}
}

func setKey(t *testing.T, ns, name, key, value string) {
	t.Helper()
	s, err := env.Client.CoreV1().Secrets(ns).Get(t.Context(), name, metav1.GetOptions{})
	fatal(t, err)
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	s.Data[key] = []byte(value)
	_, err = env.Client.CoreV1().Secrets(ns).Update(t.Context(), s, metav1.UpdateOptions{})
	fatal(t, err)
}

// emptyToken makes a Secret of the token type that nobody fills: its account is not
// there yet, and the controller leaves a Secret alone for a while.
func emptyToken(t *testing.T, ns string) {
	t.Helper()
	env.Plane.StopControllers()
	t.Cleanup(func() { fatal(t, env.Plane.StartControllers()) })
	_, err := env.Client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "robot", Annotations: map[string]string{corev1.ServiceAccountNameKey: "robot"}}, Type: corev1.SecretTypeServiceAccountToken,
	}, metav1.CreateOptions{})
	fatal(t, err)
	time.Sleep(1100 * time.Millisecond) // creation times have seconds, and the grace period is over after it
}

// deadToken makes a Secret of the token type whose token the API server does not accept.
func deadToken(t *testing.T, ns string) {
	t.Helper()
	_, err := env.Client.CoreV1().ServiceAccounts(ns).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	fatal(t, err)
	token := env.AccountToken(t, ns)
	signature := strings.LastIndex(token, ".") + 1
	_, err = env.Client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "robot", Annotations: map[string]string{corev1.ServiceAccountNameKey: "robot"}}, Type: corev1.SecretTypeServiceAccountToken,
		Data: map[string][]byte{"token": []byte(token[:signature] + strings.Repeat("A", len(token)-signature))},
	}, metav1.CreateOptions{})
	fatal(t, err)
}

func bundles() dynamic.ResourceInterface {
	return dynamic.NewForConfigOrDie(env.Plane.Config).Resource(schema.GroupVersionResource{Group: "certificates.k8s.io", Version: "v1", Resource: "clustertrustbundles"})
}

func bundle(name string, ca []byte) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle", "metadata": map[string]any{"name": name}, "spec": map[string]any{"trustBundle": string(ca)},
	}}
}

func bundleVolume(name string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Volumes = append(s.Volumes, corev1.Volume{Name: "bundle", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Name: &name, Path: "ca.crt"}}},
		}}})
		s.Containers[0].VolumeMounts = append(s.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "bundle", MountPath: "/bundle"})
	}
}

// Each thing that a pod may be held for holds it, and lets it go within a second.
func TestPodsAreHeldAndReleased(t *testing.T) {
	s := serve(t, "--signing-key-settle=1s", "--signing-key-refresh=1s")
	for _, w := range allWaits() {
		t.Run(w.name, func(t *testing.T) {
			if _, err := bundles().List(t.Context(), metav1.ListOptions{}); w.name == "trust-bundle" && err != nil {
				t.Skipf("no ClusterTrustBundles: %v", err)
			}
			ns := holds(t, w.name, "5m", "Release")
			w.before(t, ns)
			made := mustHold(t, ns, harness.Pod("web", w.change))
			if told := event(t, ns, made.Name, "Held"); !strings.Contains(told.Message, "does not exist") && !strings.Contains(told.Message, "has no") && !strings.Contains(told.Message, "401") {
				t.Errorf("the Event does not tell what is missing: %s", told.Message)
			}
			harness.WaitUntil(t, func() error {
				if got := s.Metric(t, "tokenward_held_pods"); got != 1 {
					return fmt.Errorf("tokenward_held_pods is %v", got)
				}
				return nil
			})
			seen := watchReleases(t, ns, 1)
			w.mend(t, ns)
			mended := time.Now()
			seen.wait(t, harness.Patience)
			if took := seen.at[ns+"/web"].Sub(mended); took > time.Second {
				t.Errorf("released only after %s", took)
			}
			after, err := env.Client.CoreV1().Pods(ns).Get(t.Context(), "web", metav1.GetOptions{})
			fatal(t, err)
			if len(after.Spec.SchedulingGates) > 0 || after.Labels["tokenward.dev/held"] != "" {
				t.Errorf("gate or label is left: %v %v", after.Spec.SchedulingGates, after.Labels)
			}
			event(t, ns, made.Name, "Released")
		})
	}
}

// The pods of every kind of workload are held, and go on once the Secret is there.
func TestPodsOfWorkloadsAreHeld(t *testing.T) {
	serve(t)
	ns := holds(t, "workloads", "5m", "Release")
	template := harness.Deployment("web", 2, harness.SecretVolume("db", false)).Spec.Template
	labels, once := &metav1.LabelSelector{MatchLabels: template.Labels}, *template.DeepCopy()
	once.Spec.RestartPolicy = corev1.RestartPolicyNever
	once.Labels = nil
	apps, batch := env.Client.AppsV1(), env.Client.BatchV1()
	_, err := apps.Deployments(ns).Create(t.Context(), harness.Deployment("web", 2, harness.SecretVolume("db", false)), metav1.CreateOptions{})
	fatal(t, err)
	one := int32(1)
	set := template.DeepCopy()
	set.Labels = map[string]string{"set": "x"}
	labels.MatchLabels = set.Labels
	_, err = apps.StatefulSets(ns).Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "store"}, Spec: appsv1.StatefulSetSpec{Replicas: &one, Selector: labels, Template: *set},
	}, metav1.CreateOptions{})
	fatal(t, err)
	_, err = batch.Jobs(ns).Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "once"}, Spec: batchv1.JobSpec{Template: once}}, metav1.CreateOptions{})
	fatal(t, err)
	cron := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "often"}, Spec: batchv1.CronJobSpec{
		Schedule: "* * * * *", ConcurrencyPolicy: batchv1.ForbidConcurrent, JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: once}},
	}}
	_, err = batch.CronJobs(ns).Create(t.Context(), cron, metav1.CreateOptions{})
	fatal(t, err)
	mustHold(t, ns, harness.Pod("bare", harness.SecretVolume("db", false)))
	err = cluster.Eventually(t.Context(), 90*time.Second, func(ctx context.Context) error {
		all, err := heldPods(ctx, ns)
		if err == nil && len(all) < 6 {
			err = fmt.Errorf("%d pods", len(all))
		}
		for name, held := range all {
			if !held {
				t.Fatalf("%s is not held", name)
			}
		}
		return err
	})
	fatal(t, err)
	seen := watchReleases(t, ns, 6)
	env.CreateSecret(t, ns, "db")
	seen.wait(t, 2*time.Second)
}
