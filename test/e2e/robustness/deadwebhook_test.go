package robustness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// deadWebhook is a release with failurePolicy Fail of which no replica answers.
type deadWebhook struct {
	namespace string
	api       kubernetes.Interface
}

// newDeadWebhook makes the objects of before, and then the webhook configurations
// of a release, limited to a namespace; the API server reaches nobody by them.
func newDeadWebhook(t *testing.T, before func(d *deadWebhook)) *deadWebhook {
	t.Helper()
	d := &deadWebhook{namespace: env.NewNamespace(t), api: env.Client}
	before(d)
	i := harness.Install(t, env.Plane, chart.Release{Name: "dead", Namespace: env.NewNamespace(t), Values: map[string]any{
		"webhook":           map[string]any{"failurePolicy": "Fail"},
		"workloadResources": []string{rollouts.Group + "/" + rollouts.Version + "/" + rollouts.Resource + "=spec.template"},
	}})
	deployed := harness.Deploy(t, env.Client, i)
	deployed.PodNamespace = d.namespace
	nobody := "https://127.0.0.1:1"
	deployed.Configure(t, func(path string) admissionregistrationv1.WebhookClientConfig {
		url := nobody + path
		return admissionregistrationv1.WebhookClientConfig{URL: &url}
	})
	harness.WaitUntil(t, func() error {
		_, err := d.api.CoreV1().Pods(d.namespace).Create(t.Context(), harness.Pod("probe"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		_, err2 := d.api.AppsV1().Deployments(d.namespace).Create(t.Context(), harness.Deployment("probe", 1, func(*corev1.PodSpec) {}), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !asked(err) || !asked(err2) {
			return fmt.Errorf("the API server does not ask yet: %w", errors.Join(err, err2))
		}
		return nil
	})
	return d
}

// asked reports whether an error says that the API server wanted to ask the webhook.
func asked(err error) bool {
	return err != nil && strings.Contains(err.Error(), "failed calling webhook")
}

// as returns a client of another user who may do everything.
func as(t *testing.T, user string) kubernetes.Interface {
	t.Helper()
	config := rest.CopyConfig(env.Plane.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters"}}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ownedBy returns a ReplicaSet whose controller is said to be a Deployment.
func ownedBy(name string, owner types.UID) *appsv1.ReplicaSet {
	d := harness.Deployment(name, 0, func(*corev1.PodSpec) {})
	yes := true
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: d.Labels, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: owner, Controller: &yes},
		}},
		Spec: appsv1.ReplicaSetSpec{Replicas: d.Spec.Replicas, Selector: d.Spec.Selector, Template: d.Spec.Template},
	}
}

// before is what there is when the last replica goes.
func (d *deadWebhook) before(t *testing.T) {
	t.Helper()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	held := harness.Pod("held")
	held.Finalizers = []string{"example.com/hold"}
	must(d.api.CoreV1().Pods(d.namespace).Create(t.Context(), held, metav1.CreateOptions{}))
	must(d.api.CoreV1().Pods(d.namespace).Create(t.Context(), harness.Pod("runs"), metav1.CreateOptions{}))
	must(d.api.AppsV1().Deployments(d.namespace).Create(t.Context(), harness.Deployment("web", 1, func(*corev1.PodSpec) {}), metav1.CreateOptions{}))
	must(d.api.AppsV1().Deployments(d.namespace).Create(t.Context(), harness.Deployment("big", 0, func(s *corev1.PodSpec) {
		for i := range 8000 {
			s.Containers[0].Env = append(s.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", i), Value: strings.Repeat("x", 100)})
		}
	}), metav1.CreateOptions{}))
	template := corev1.PodTemplateSpec{Spec: harness.Pod("", func(s *corev1.PodSpec) { s.RestartPolicy = corev1.RestartPolicyNever }).Spec}
	must(d.api.BatchV1().Jobs(d.namespace).Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "job"}, Spec: batchv1.JobSpec{Template: template},
	}, metav1.CreateOptions{}))
	must(d.api.BatchV1().CronJobs(d.namespace).Create(t.Context(), &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: "cron"},
		Spec:       batchv1.CronJobSpec{Schedule: "0 0 1 1 *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}}},
	}, metav1.CreateOptions{}))
	must(d.api.CoreV1().PodTemplates(d.namespace).Create(t.Context(), &corev1.PodTemplate{
		ObjectMeta: metav1.ObjectMeta{Name: "template"}, Template: template,
	}, metav1.CreateOptions{}))
	d.waitForSets(t, 1)
	// A new template that is not rolled out yet.
	d.patchDeployment(t, "web", `{"spec":{"paused":true,"template":{"metadata":{"annotations":{"version":"2"}}}}}`)
}

func (d *deadWebhook) patchDeployment(t *testing.T, name, patch string) {
	t.Helper()
	if _, err := d.api.AppsV1().Deployments(d.namespace).Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// waitForSets waits until the Deployment web has so many ReplicaSets.
func (d *deadWebhook) waitForSets(t *testing.T, n int) {
	t.Helper()
	harness.WaitUntil(t, func() error {
		sets, err := d.api.AppsV1().ReplicaSets(d.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
		if err == nil && len(sets.Items) != n {
			err = fmt.Errorf("%d ReplicaSets, want %d", len(sets.Items), n)
		}
		return err
	})
}

// Under Fail, with every replica down, no pod is created; and nothing else waits.
func TestADeadWebhookUnderFailStandsInTheWayOfNothingButNewPods(t *testing.T) {
	rolloutsKind(t)
	var rollout rolloutClient
	d := newDeadWebhook(t, func(d *deadWebhook) {
		rollout = newRolloutClient(t, d.namespace)
		d.before(t)
		rollout.before(t)
	})
	for _, c := range slices.Concat(d.pods(t), d.workloads(t), d.controllers(t), rollout.changes(t)) {
		t.Run(c.name, func(t *testing.T) {
			switch err := c.do(t.Context()); {
			case c.waits && !asked(err):
				t.Errorf("the webhook is not asked: %v", err)
			case !c.waits && err != nil:
				t.Error(err)
			}
		})
	}
	t.Run("a Deployment that is resumed rolls out", func(t *testing.T) {
		d.patchDeployment(t, "web", `{"spec":{"paused":false}}`)
		d.waitForSets(t, 2)
	})
	t.Run("a Job finishes", d.finishJob)
	t.Run("policies are written", writePolicies)
	t.Run("the namespace goes", func(t *testing.T) {
		if err := d.api.CoreV1().Namespaces().Delete(t.Context(), d.namespace, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		harness.WaitUntil(t, func() error {
			_, err := d.api.CoreV1().Namespaces().Get(t.Context(), d.namespace, metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is still there: %w", err)
			}
			return nil
		})
	})
}

// deadChange is a request while the webhook is dead.
type deadChange struct {
	name  string
	waits bool // it needs the webhook
	do    func(context.Context) error
}

// finishJob does what the kubelet does when the container of a Job has ended.
func (d *deadWebhook) finishJob(t *testing.T) {
	harness.WaitUntil(t, func() error {
		pods, err := d.api.CoreV1().Pods(d.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=job"})
		if err != nil {
			return err
		}
		if len(pods.Items) == 0 {
			return errors.New("the Job has no pod")
		}
		pod := &pods.Items[0]
		pod.Status.Phase = corev1.PodSucceeded
		_, err = d.api.CoreV1().Pods(d.namespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
		return err
	})
	harness.WaitUntil(t, func() error {
		job, err := d.api.BatchV1().Jobs(d.namespace).Get(t.Context(), "job", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == batchv1.JobComplete }) {
			return fmt.Errorf("not complete: %+v", job.Status)
		}
		return nil
	})
}

func writePolicies(t *testing.T) {
	env.MustCreatePolicy(t, "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: while-dead}\nspec:\n"+
		"  match: {namespaceSelector: {matchLabels: {no: such}}}\n  checks: [{name: secret-exists, action: Audit}]\n")
}
