package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/workload"
)

// Lister lists objects by pages.
type Lister struct {
	core      kubernetes.Interface
	dynamic   dynamic.Interface
	metadata  metadata.Interface
	templates workload.Templates
}

// NewLister returns one for the API server of config. How fast it may ask is the
// config's to say.
func NewLister(config *rest.Config, templates workload.Templates) (*Lister, error) {
	typed := rest.CopyConfig(config)
	typed.ContentType = runtime.ContentTypeProtobuf
	typed.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	core, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	objects, err := metadata.NewForConfig(metadata.ConfigFor(config))
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return &Lister{core: core, dynamic: dyn, metadata: objects, templates: templates}, nil
}

// pageSize is how many objects are asked for at a time.
const pageSize = 500

// pages lists by pages and visits each. The size of the next page is for visit
// to say.
func pages(ctx context.Context, limit int64, list func(context.Context, metav1.ListOptions) (runtime.Object, error), visit func(runtime.Object) (limit int64, err error)) error {
	options := metav1.ListOptions{Limit: limit}
	for {
		page, err := list(ctx, options)
		var status apierrors.APIStatus
		if apierrors.IsResourceExpired(err) && options.Continue != "" && errors.As(err, &status) && status.Status().Continue != "" {
			// The rest comes in a later state of the cluster: for an audit it is as good.
			options.Continue = status.Status().Continue
			continue
		}
		if err != nil {
			return err
		}
		if options.Limit, err = visit(page); err != nil {
			return err
		}
		listed, err := meta.ListAccessor(page)
		if err != nil {
			return err
		}
		if options.Continue = listed.GetContinue(); options.Continue == "" {
			return ctx.Err()
		}
	}
}

// typed lists a resource that the client's scheme knows.
func typed(client rest.Interface, resource, namespace string) func(context.Context, metav1.ListOptions) (runtime.Object, error) {
	return func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return client.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).
			VersionedParams(&options, scheme.ParameterCodec).Do(ctx).Get()
	}
}

// listed is an object of a list, with the pod that it stands for; Pod is nil
// where it stands for none.
type listed struct {
	Object
	meta metav1.Object
}

func (l *listed) ref() Ref {
	apiVersion, kind := l.Kind.ToAPIVersionAndKind()
	return Ref{APIVersion: apiVersion, Kind: kind, Namespace: l.Namespace, Name: l.Name, UID: string(l.meta.GetUID())}
}

type resource struct {
	client rest.Interface
	kind   schema.GroupVersionKind
	name   string
}

// resources are the kinds of Kubernetes that have a pod template, owners first.
func (l *Lister) resources() []resource {
	apps, batch, core := l.core.AppsV1().RESTClient(), l.core.BatchV1().RESTClient(), l.core.CoreV1().RESTClient()
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
	return resource{l.core.CoreV1().RESTClient(), corev1.SchemeGroupVersion.WithKind("Pod"), "pods"}
}

// each visits the objects of a resource page by page.
func (l *Lister) each(ctx context.Context, r resource, namespace string, visit func([]listed) error) error {
	return pages(ctx, pageSize, typed(r.client, r.name, namespace), func(page runtime.Object) (int64, error) {
		var out []listed
		err := meta.EachListItem(page, func(o runtime.Object) error {
			item, err := l.of(r.kind, o)
			if err == nil {
				out = append(out, item)
			}
			return err
		})
		if err != nil {
			return 0, err
		}
		return pageSize, visit(out)
	})
}

func (l *Lister) of(kind schema.GroupVersionKind, o runtime.Object) (listed, error) {
	m, err := meta.Accessor(o)
	if err != nil {
		return listed{}, err
	}
	item := listed{meta: m}
	if pod, ok := o.(*corev1.Pod); ok {
		item.Object = *OfPod(pod)
		return item, nil
	}
	item.Object = Object{Kind: kind, Namespace: m.GetNamespace(), Name: m.GetName()}
	item.Whole = func() map[string]any {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return nil
		}
		fields["apiVersion"], fields["kind"] = kind.ToAPIVersionAndKind()
		return fields
	}
	if template := templateOf(o); template != nil {
		item.Pod = l.templates.OfTemplate(kind.GroupKind(), m, template)
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

// eachCustom visits the objects of a resource that is not Kubernetes' own.
func (l *Lister) eachCustom(ctx context.Context, r schema.GroupVersionResource, namespace string, visit func([]listed) error) error {
	list := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return l.dynamic.Resource(r).Namespace(namespace).List(ctx, options)
	}
	return pages(ctx, pageSize, list, func(page runtime.Object) (int64, error) {
		var out []listed
		err := meta.EachListItem(page, func(o runtime.Object) error {
			u, ok := o.(*unstructured.Unstructured)
			if !ok {
				return fmt.Errorf("unexpected %T", o)
			}
			raw, err := json.Marshal(u.Object)
			if err != nil {
				return err
			}
			item := listed{meta: u, Object: Object{
				Kind: u.GroupVersionKind(), Namespace: u.GetNamespace(), Name: u.GetName(),
				Whole: func() map[string]any { return u.Object },
			}}
			// A template that can't be read is no pod: its kind's controller knows best.
			if item.Pod, err = l.templates.FromResource(r, raw); err != nil {
				item.Pod = nil
			}
			out = append(out, item)
			return nil
		})
		if err != nil {
			return 0, err
		}
		return pageSize, visit(out)
	})
}
