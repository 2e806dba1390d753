package hold

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"tokenward.dev/tokenward/pkg/policy"
)

// namespacePods is the store of one namespace's Reflector, or of the one for all.
type namespacePods struct {
	*pods
	namespace string
}

// Replace implements cache.ReflectorStore.
func (s namespacePods) Replace(list []any, _ string) error { return s.replace(s.namespace, list) }

// Transformer leaves out what no judgement reads, before a list is buffered.
func (namespacePods) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if pod, ok := obj.(*corev1.Pod); ok {
			pod.ManagedFields = nil
		}
		return obj, nil
	}
}

// watch follows the pods with the label.
func (r *run) watch(ctx context.Context, group *sync.WaitGroup) {
	namespaces := r.Only
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		reflector := cache.NewReflectorWithOptions(r.listWatch(namespace), &corev1.Pod{}, namespacePods{r.pods, namespace}, cache.ReflectorOptions{
			Name: "held pods", TypeDescription: "held pods", Logger: &r.Log,
		})
		group.Go(func() { reflector.RunWithContext(ctx) })
	}
}

func (r *run) listWatch(namespace string) cache.ListerWatcher {
	client := r.Client.CoreV1().Pods(namespace)
	selector := policy.HeldLabel + "=" + policy.HeldLabelValue
	report := func(err error) {
		if !apierrors.IsInvalid(err) && !apierrors.IsResourceExpired(err) {
			r.failures.Report("watch "+namespace, err, "Held pods can't be watched: grant list and watch on pods")
		}
	}
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.LabelSelector = selector
			list, err := client.List(ctx, options)
			report(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = selector
			w, err := client.Watch(ctx, options)
			report(err)
			return w, err
		},
	}, r.Client)
}

// count brings the metrics up to date.
func (r *run) count(now time.Time) {
	held, overdue := 0, 0
	r.pods.each(func(p *heldPod) {
		if p.released {
			return
		}
		held++
		if p.overdue(now) {
			overdue++
		}
	})
	r.Metrics.HeldPods.Set(float64(held))
	r.Metrics.HeldPodsOverdue.Set(float64(overdue))
}

// countNone is for a replica that no longer leads.
func (r *run) countNone() {
	r.Metrics.HeldPods.Set(0)
	r.Metrics.HeldPodsOverdue.Set(0)
}
