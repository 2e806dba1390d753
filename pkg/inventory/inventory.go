// Package inventory answers queries about a live cluster. An index of Secrets,
// fed by a metadata-only watch, answers when all is well without any call to
// the API server; whatever it does not have is read live before anybody is told
// that it is absent.
//
// It imports packages facts, reference and metrics, never policy: it knows what
// the cluster holds, not what anybody makes of it.
package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/reference"
)

const (
	// maxReads bounds the live reads of one review, parallelReads how many of
	// them run at a time.
	maxReads      = 64
	parallelReads = 8
)

// Inventory answers queries from an index and by live reads.
type Inventory struct {
	secrets   *index
	reader    *reader
	reflector *cache.Reflector
}

// New returns an inventory that reads from the API server of config. Start
// must run for it to become synced.
func New(config *rest.Config, m *metrics.Metrics, log logr.Logger) (*Inventory, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // budgets of our own take the place of the client's limiter
	reader, err := newReader(config, m, log)
	if err != nil {
		return nil, err
	}
	meta, err := metadata.NewForConfig(metadata.ConfigFor(config))
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	synced := m.InventorySynced.WithLabelValues(string(reference.Secret))
	objects := m.InventoryObjects.WithLabelValues(string(reference.Secret))
	secrets := newIndex(func(n int, ok bool) {
		objects.Set(float64(n))
		if ok {
			synced.Set(1)
		}
	})
	klogger := log.WithName("watch")
	return &Inventory{
		secrets: secrets,
		reader:  reader,
		reflector: cache.NewReflectorWithOptions(
			cache.ToListWatcherWithWatchListSemantics(listWatch(meta), meta), &metav1.PartialObjectMetadata{}, secrets,
			cache.ReflectorOptions{Name: "secrets", TypeDescription: "Secret metadata", Logger: &klogger},
		),
	}, nil
}

func listWatch(client metadata.Interface) *cache.ListWatch {
	secrets := client.Resource(corev1.SchemeGroupVersion.WithResource("secrets"))
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return secrets.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return secrets.Watch(ctx, options)
		},
	}
}

// Start feeds the index until the context ends.
func (v *Inventory) Start(ctx context.Context) error {
	v.reflector.RunWithContext(ctx)
	return nil
}

// Synced reports whether the index is complete. Before that nothing may be judged.
func (v *Inventory) Synced() bool { return v.secrets.synced.Load() }

// Gather answers what a review needs, for a request that arrived at the given
// time. It returns before the context's deadline; what could not be found out
// by then is unknown.
func (v *Inventory) Gather(ctx context.Context, arrived time.Time, needs func(*facts.Set) []facts.Query) *facts.Set {
	reads := maxReads
	return facts.Collect(needs, func(queries []facts.Query, set *facts.Set) {
		live := queries[:0]
		for _, q := range queries {
			if f, ok := v.indexed(&q); ok {
				set.Put(q.Object, f)
			} else {
				live = append(live, q)
			}
		}
		for len(live) > reads {
			last := len(live) - 1
			set.Put(live[last].Object, facts.Fact{Why: facts.Throttled})
			live = live[:last]
		}
		reads -= len(live)
		v.read(ctx, arrived, live, set)
	})
}

// indexed answers from memory. Only "present" is answered so, for existence
// alone: that something is absent is always confirmed live.
func (v *Inventory) indexed(q *facts.Query) (facts.Fact, bool) {
	switch {
	case q.Kind == facts.TokenSecretsOf:
		return facts.Fact{State: facts.Present, Names: v.tokenSecretsOf(q)}, true
	case q.Kind == reference.Secret && len(q.Keys) == 0 && v.secrets.has(q.Namespace, q.Name):
		return facts.Fact{State: facts.Present}, true
	}
	return facts.Fact{}, false
}

// tokenSecretsOf goes by the names that the token controller gave, ACCOUNT-token-xxxxx.
func (v *Inventory) tokenSecretsOf(q *facts.Query) []string {
	names := v.secrets.namesWith(q.Namespace, func(name string) bool {
		suffix, ok := strings.CutPrefix(name, q.Name+"-token-")
		return ok && len(suffix) == 5
	})
	slices.Sort(names)
	return names
}

// read answers by live reads, some at a time.
func (v *Inventory) read(ctx context.Context, arrived time.Time, queries []facts.Query, set *facts.Set) {
	answers := make([]facts.Fact, len(queries))
	slots := make(chan struct{}, parallelReads)
	var group sync.WaitGroup
	for i := range queries {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			answers[i] = v.reader.read(ctx, arrived, &queries[i])
		})
	}
	group.Wait()
	for i := range queries {
		set.Put(queries[i].Object, answers[i])
	}
}
