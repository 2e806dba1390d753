package inventory

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/reference"
)

// watched is an index of one kind and the Reflectors that feed it.
type watched struct {
	kind       reference.Kind
	index      *index
	reflectors []*cache.Reflector
	unsynced   atomic.Int32 // feeds without a complete list yet
	// contacts are when each watch last brought anything, bookmarks included,
	// or was opened; in Unix nanoseconds.
	contacts []*atomic.Int64
}

// watchedKinds are the kinds of which there is an index.
func watchedKinds() map[reference.Kind]schema.GroupVersionResource {
	core := corev1.SchemeGroupVersion
	return map[reference.Kind]schema.GroupVersionResource{
		reference.Secret:         core.WithResource("secrets"),
		reference.ConfigMap:      core.WithResource("configmaps"),
		reference.ServiceAccount: core.WithResource("serviceaccounts"),
		namespaceKind:            core.WithResource("namespaces"),
	}
}

func newWatched(kind reference.Kind, resource schema.GroupVersionResource, namespaces []string, client *cluster.Client, m *metrics.Metrics, log logr.Logger) *watched {
	objects := m.InventoryObjects.WithLabelValues(string(kind))
	w := &watched{kind: kind, index: newIndex(func(n int) { objects.Set(float64(n)) })}
	synced := m.InventorySynced.WithLabelValues(string(kind))
	if kind == namespaceKind {
		w.index.keepWhole = true
	}
	if len(namespaces) == 0 || kind == namespaceKind {
		namespaces = []string{metav1.NamespaceAll}
	}
	w.unsynced.Store(int32(len(namespaces)))
	for _, ns := range namespaces {
		var once atomic.Bool
		contact := &atomic.Int64{}
		into := &feed{heard: func() { contact.Store(time.Now().UnixNano()) }, index: w.index, namespace: ns, onSynced: func() {
			if once.CompareAndSwap(false, true) && w.unsynced.Add(-1) == 0 {
				synced.Set(1)
			}
		}}
		w.contacts = append(w.contacts, contact)
		klogger := log.WithValues("kind", string(kind))
		source, expected := listerOf(client, kind, resource, ns, contact)
		w.reflectors = append(w.reflectors, cache.NewReflectorWithOptions(source, expected, into,
			cache.ReflectorOptions{Name: string(kind), TypeDescription: string(kind), Logger: &klogger},
		))
	}
	return w
}

func (w *watched) synced() bool { return w.unsynced.Load() == 0 }

// age is how long ago the oldest of the watches was last heard of.
func (w *watched) age(now time.Time) time.Duration {
	oldest := now.UnixNano()
	for _, c := range w.contacts {
		oldest = min(oldest, c.Load())
	}
	return now.Sub(time.Unix(0, oldest))
}

// listerOf returns where the objects of a kind come from: Namespaces whole, of all
// others the metadata alone.
func listerOf(client *cluster.Client, kind reference.Kind, resource schema.GroupVersionResource, namespace string, contact *atomic.Int64) (cache.ListerWatcher, runtime.Object) {
	if kind == namespaceKind {
		source := listWatch(client.Dynamic.Resource(resource), contact)
		return cache.ToListWatcherWithWatchListSemantics(source, client.Dynamic), &unstructured.Unstructured{}
	}
	source := listWatch(client.Metadata.Resource(resource).Namespace(namespace), contact)
	return cache.ToListWatcherWithWatchListSemantics(source, client.Metadata), &metav1.PartialObjectMetadata{}
}

// listWatch lists and watches, and notes whenever something arrives.
func listWatch[L runtime.Object](client interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}, contact *atomic.Int64) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := client.List(ctx, options)
			if err != nil {
				return nil, err
			}
			contact.Store(time.Now().UnixNano())
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.AllowWatchBookmarks = true
			w, err := client.Watch(ctx, options)
			if err != nil {
				return nil, err
			}
			contact.Store(time.Now().UnixNano())
			return w, nil
		},
	}
}
