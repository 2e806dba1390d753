package robustness

import (
	"context"
	"encoding/json"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// pods are requests about pods.
func (d *deadWebhook) pods(*testing.T) []deadChange {
	pods := d.api.CoreV1().Pods(d.namespace)
	patch := func(name, patch string, subresources ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := pods.Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...)
			return err
		}
	}
	return []deadChange{
		{"a pod is created", true, func(ctx context.Context) error {
			_, err := pods.Create(ctx, harness.Pod("new"), metav1.CreateOptions{})
			return err
		}},
		{"a pod gets an ephemeral container", true, patch("runs", `{"spec":{"ephemeralContainers":[{"name":"debug","image":"example.test/debug:1"}]}}`, "ephemeralcontainers")},
		{"a pod gets a label", false, patch("runs", `{"metadata":{"labels":{"a":"b"}}}`)},
		{"a pod gets another image", false, patch("runs", `{"spec":{"containers":[{"name":"main","image":"example.test/main:2"}]}}`)},
		{"the status of a pod is written", false, patch("runs", `{"status":{"phase":"Running"}}`, "status")},
		{"a pod with a finalizer is deleted", false, func(ctx context.Context) error { return pods.Delete(ctx, "held", metav1.DeleteOptions{}) }},
		{"its finalizer is removed", false, patch("held", `{"metadata":{"finalizers":null}}`)},
		{"a pod is deleted", false, func(ctx context.Context) error { return pods.Delete(ctx, "runs", metav1.DeleteOptions{}) }},
	}
}

// workloads are requests about workloads.
func (d *deadWebhook) workloads(*testing.T) []deadChange {
	deployment := func(name, patch string, subresources ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := d.api.AppsV1().Deployments(d.namespace).Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...)
			return err
		}
	}
	cron := func(patch string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := d.api.BatchV1().CronJobs(d.namespace).Patch(ctx, "cron", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
			return err
		}
	}
	template := func(patch string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := d.api.CoreV1().PodTemplates(d.namespace).Patch(ctx, "template", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
			return err
		}
	}
	return []deadChange{
		{"a Deployment is created", true, func(ctx context.Context) error {
			_, err := d.api.AppsV1().Deployments(d.namespace).Create(ctx, harness.Deployment("new", 0, func(*corev1.PodSpec) {}), metav1.CreateOptions{})
			return err
		}},
		{"its template is changed", true, deployment("web", `{"spec":{"template":{"spec":{"serviceAccountName":"other"}}}}`)},
		{"its template is changed while it is scaled", true, deployment("web", `{"spec":{"replicas":2,"template":{"metadata":{"labels":{"a":"b"}}}}}`)},
		{"a Deployment is scaled", false, func(ctx context.Context) error {
			_, err := d.api.AppsV1().Deployments(d.namespace).UpdateScale(ctx, "web", &autoscalingv1.Scale{
				ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: d.namespace}, Spec: autoscalingv1.ScaleSpec{Replicas: 2},
			}, metav1.UpdateOptions{})
			return err
		}},
		{"a Deployment is scaled by a patch", false, deployment("web", `{"spec":{"replicas":0}}`)},
		{"the status of a Deployment is written", false, deployment("web", `{"status":{"conditions":[{"type":"Odd","status":"True"}]}}`, "status")},
		{"a Deployment gets a label and a finalizer", false, deployment("web", `{"metadata":{"labels":{"a":"b"},"finalizers":["example.com/hold"]}}`)},
		{"the finalizer is removed", false, deployment("web", `{"metadata":{"finalizers":null}}`)},
		{"a Deployment with a template of a megabyte is scaled", false, deployment("big", `{"spec":{"replicas":0,"paused":true}}`)},
		{"such a template is changed", true, deployment("big", `{"spec":{"template":{"metadata":{"annotations":{"a":"b"}}}}}`)},
		{"a CronJob is suspended", false, cron(`{"spec":{"suspend":true}}`)},
		{"the Jobs that it makes get a label", false, cron(`{"spec":{"jobTemplate":{"metadata":{"labels":{"a":"b"}}}}}`)},
		{"the template of a CronJob is changed", true, cron(`{"spec":{"jobTemplate":{"spec":{"template":{"spec":{"serviceAccountName":"other"}}}}}}`)},
		{"a PodTemplate gets a label", false, template(`{"metadata":{"labels":{"a":"b"}}}`)},
		{"a PodTemplate is changed", true, template(`{"template":{"spec":{"serviceAccountName":"other"}}}`)},
	}
}

// controllers are what those of Kubernetes ask, and who says to be one.
func (d *deadWebhook) controllers(t *testing.T) []deadChange {
	create := func(user, name string) func(context.Context) error {
		return func(ctx context.Context) error {
			web, err := d.api.AppsV1().Deployments(d.namespace).Get(ctx, "web", metav1.GetOptions{})
			if err == nil {
				_, err = as(t, user).AppsV1().ReplicaSets(d.namespace).Create(ctx, ownedBy(name, web.UID), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			}
			return err
		}
	}
	return []deadChange{
		{"the Deployment controller makes a ReplicaSet", false, create("system:serviceaccount:kube-system:deployment-controller", "a")},
		{"a controller manager without accounts makes one", false, create("system:kube-controller-manager", "b")},
		{"somebody makes one in the name of an existing Deployment", true, create("mallory", "c")},
		{"an account of a tenant makes one", true, create("system:serviceaccount:shop:deployment-controller", "d")},
		{"the Deployment controller makes one of nobody's", true, func(ctx context.Context) error {
			set := ownedBy("e", "")
			set.OwnerReferences = nil
			_, err := as(t, "system:serviceaccount:kube-system:deployment-controller").AppsV1().ReplicaSets(d.namespace).Create(ctx, set, metav1.CreateOptions{})
			return err
		}},
		{"the CronJob controller makes a Job", false, func(ctx context.Context) error {
			cron, err := d.api.BatchV1().CronJobs(d.namespace).Get(ctx, "cron", metav1.GetOptions{})
			if err != nil {
				return err
			}
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "of-cron"}, Spec: cron.Spec.JobTemplate.Spec}
			job.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(cron, batchv1.SchemeGroupVersion.WithKind("CronJob"))}
			_, err = as(t, "system:serviceaccount:kube-system:cronjob-controller").BatchV1().Jobs(d.namespace).Create(ctx, job, metav1.CreateOptions{})
			return err
		}},
	}
}

// rollouts is a kind of others with a pod template, whose schema takes anything.
var rollouts = schema.GroupVersionResource{Group: "example.test", Version: "v1", Resource: "rollouts"}

func rolloutsKind(t *testing.T) {
	t.Helper()
	anything := true
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: rollouts.Resource + "." + rollouts.Group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: rollouts.Group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: rollouts.Resource, Singular: "rollout", Kind: "Rollout", ListKind: "RolloutList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: rollouts.Version, Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &anything}},
			}},
		},
	}
	if _, err := envtest.InstallCRDs(env.Plane.Config, envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{crd}}); err != nil {
		t.Fatal(err)
	}
}

type rolloutClient struct{ dynamic.ResourceInterface }

func newRolloutClient(t *testing.T, namespace string) rolloutClient {
	t.Helper()
	c, err := dynamic.NewForConfig(env.Plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	return rolloutClient{c.Resource(rollouts).Namespace(namespace)}
}

// before makes Rollouts, some with something else in the place of a template.
func (r rolloutClient) before(t *testing.T) {
	t.Helper()
	for name, spec := range map[string]string{
		"good": `{"replicas":1,"template":{"spec":{"containers":[]}}}`, "null": `null`, "text": `"text"`, "list": `[]`, "none": `{}`,
	} {
		o := &unstructured.Unstructured{}
		text := `{"apiVersion":"example.test/v1","kind":"Rollout","metadata":{"name":"` + name + `"},"spec":` + spec + `}`
		if err := json.Unmarshal([]byte(text), &o.Object); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func (r rolloutClient) changes(*testing.T) []deadChange {
	patch := func(name, patch string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := r.Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			return err
		}
	}
	const template = `{"spec":{"template":{"spec":{"serviceAccountName":"other"}}}}`
	return []deadChange{
		{"a Rollout is scaled", false, patch("good", `{"spec":{"replicas":2}}`)},
		{"the template of a Rollout is changed", true, patch("good", template)},
		{"a Rollout without a template is scaled", false, patch("none", `{"spec":{"replicas":2}}`)},
		{"a Rollout without a template gets one", true, patch("none", template)},
		{"a Rollout whose spec was null gets one", true, patch("null", template)},
		{"a Rollout whose spec was text gets one", true, patch("text", template)},
		{"a Rollout whose spec was a list gets one", true, patch("list", template)},
	}
}
