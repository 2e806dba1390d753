package listing

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/workload"
)

// Item is an object of a list, with the pod that it stands for, if any.
type Item struct {
	workload.Object
	Meta metav1.Object
}

// Controller returns who controls the object; nil if nobody does.
func (i *Item) Controller() *metav1.OwnerReference { return metav1.GetControllerOfNoCopy(i.Meta) }

// IsPod reports whether the object is a pod itself.
func (i *Item) IsPod() bool { return i.Pod != nil && !i.Pod.Template }

type resource struct {
	client rest.Interface
	kind   schema.GroupVersionKind
	name   string
}

// resources are the kinds of Kubernetes that have a pod template, owners first.
func (l *Lister) resources() []resource {
	apps, batch, core := l.Core.AppsV1().RESTClient(), l.Core.BatchV1().RESTClient(), l.Core.CoreV1().RESTClient()
	return []resource{
		{apps, appsv1.SchemeGroupVersion.WithKind("Deployment"), "deployments"},
		{apps, appsv1.SchemeGroupVersion.WithKind("StatefulSet"), "statefulsets"},
		{apps, appsv1.SchemeGroupVersion.WithKind("DaemonSet"), "daemonsets"},
		{apps, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), "replicasets"},
		{core, corev1.SchemeGroupVersion.WithKind("ReplicationController"), "replicationcontrollers"},
		{batch, batchv1.SchemeGroupVersion.WithKind("CronJob"), "cronjobs"},
		{batch, batchv1.SchemeGroupVersion.WithKind("Job"), "jobs"},
		{core, corev1.SchemeGroupVersion.WithKind("PodTemplate"), "podtemplates"},
	}
}

func (l *Lister) pods() resource {
	return resource{l.Core.CoreV1().RESTClient(), corev1.SchemeGroupVersion.WithKind("Pod"), "pods"}
}

// EachPod visits the pods of a namespace, or all if it is empty, page by page.
func (l *Lister) EachPod(ctx context.Context, namespace string, visit func([]Item) error) error {
	return l.each(ctx, l.pods(), namespace, visit)
}

// EachTemplate visits the objects that have a pod template, resource by resource
// and page by page: custom ones first, and owners before what they own. After
// each resource it calls ended with the error that its list ended with. An error
// of ended ends it all.
func (l *Lister) EachTemplate(ctx context.Context, namespace string, visit func([]Item) error, ended func(resource string, err error) error) error {
	for _, r := range l.templates.Resources() {
		if err := ended(r.Resource, l.eachCustom(ctx, r, namespace, visit)); err != nil {
			return err
		}
	}
	for _, r := range l.resources() {
		if err := ended(r.name, l.each(ctx, r, namespace, visit)); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lister) each(ctx context.Context, r resource, namespace string, visit func([]Item) error) error {
	item := func(o runtime.Object) (Item, error) { return l.typedItem(r.kind, o) }
	return EachPage(ctx, TypedList(r.client, r.name, namespace), visitItems(item, visit))
}

// eachCustom visits the objects of a resource that is not Kubernetes' own.
func (l *Lister) eachCustom(ctx context.Context, r schema.GroupVersionResource, namespace string, visit func([]Item) error) error {
	list := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return l.Dynamic.Resource(r).Namespace(namespace).List(ctx, options)
	}
	item := func(o runtime.Object) (Item, error) { return l.customItem(r, o) }
	return EachPage(ctx, list, visitItems(item, visit))
}

// visitItems returns a function that visits the items of a page.
func visitItems(item func(runtime.Object) (Item, error), visit func([]Item) error) func(runtime.Object) error {
	return func(page runtime.Object) error {
		var items []Item
		err := meta.EachListItem(page, func(o runtime.Object) error {
			one, err := item(o)
			if err == nil {
				items = append(items, one)
			}
			return err
		})
		if err != nil {
			return err
		}
		return visit(items)
	}
}

func (l *Lister) typedItem(kind schema.GroupVersionKind, o runtime.Object) (Item, error) {
	m, err := meta.Accessor(o)
	if err != nil {
		return Item{}, err
	}
	if pod, ok := o.(*corev1.Pod); ok {
		return Item{Object: workload.ObjectOfPod(pod), Meta: m}, nil
	}
	item := Item{Meta: m, Object: workload.Object{
		Kind: kind, Namespace: m.GetNamespace(), Name: m.GetName(), Whole: workload.WholeOf(o, kind), Idle: workload.IsIdle(o),
	}}
	if template := templateOf(o); template != nil {
		item.Pod = l.templates.OfTemplate(kind.GroupKind(), m, template)
	}
	return item, nil
}

func (l *Lister) customItem(r schema.GroupVersionResource, o runtime.Object) (Item, error) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return Item{}, fmt.Errorf("unexpected %T", o)
	}
	raw, err := json.Marshal(u.Object)
	if err != nil {
		return Item{}, err
	}
	item := Item{Meta: u, Object: workload.Object{
		Kind: u.GroupVersionKind(), Namespace: u.GetNamespace(), Name: u.GetName(),
		Whole: func() map[string]any { return u.Object },
	}}
	// A template that can't be read is no pod: its kind's controller knows best.
	if item.Pod, err = l.templates.FromResource(r, raw); err != nil {
		item.Pod = nil
	}
	return item, nil
}

func templateOf(o runtime.Object) *corev1.PodTemplateSpec {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.StatefulSet:
		return &o.Spec.Template
	case *appsv1.DaemonSet:
		return &o.Spec.Template
	case *appsv1.ReplicaSet:
		return &o.Spec.Template
	case *corev1.ReplicationController:
		return o.Spec.Template
	case *batchv1.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	case *batchv1.Job:
		return &o.Spec.Template
	case *corev1.PodTemplate:
		return &o.Template
	}
	return nil
}
