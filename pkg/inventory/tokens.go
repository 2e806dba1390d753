package inventory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// verifyPage is how many token Secrets are read at a time after the keys changed.
// A page is decoded whole, and anybody may make Secrets of 1 MB.
const verifyPage = 10

// verifyRetry is how soon it is tried again if they can't be read.
const verifyRetry = 5 * time.Second

// tokenWatch brings token Secrets into the cache, reduced on arrival.
type tokenWatch struct {
	inventory  *Inventory
	core       kubernetes.Interface
	namespaces []string
	unsynced   chan struct{} // holds one for each feed without a complete list
	verify     chan struct{} // holds one: the trust changed
	log        logr.Logger
}

func newTokenWatch(v *Inventory, core kubernetes.Interface, namespaces []string, log logr.Logger) *tokenWatch {
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	w := &tokenWatch{
		inventory: v, core: core, namespaces: namespaces, log: log,
		unsynced: make(chan struct{}, len(namespaces)), verify: make(chan struct{}, 1),
	}
	for range namespaces {
		w.unsynced <- struct{}{}
	}
	return w
}

func (w *tokenWatch) synced() bool { return len(w.unsynced) == 0 }

func (w *tokenWatch) reflectors() []*cache.Reflector {
	out := make([]*cache.Reflector, 0, len(w.namespaces))
	for _, ns := range w.namespaces {
		secrets := w.core.CoreV1().Secrets(ns)
		source := &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				o.FieldSelector = cluster.TokenSecrets()
				return secrets.List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.FieldSelector = cluster.TokenSecrets()
				return secrets.Watch(ctx, o)
			},
		}
		out = append(out, cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(source, w.core), &corev1.Secret{},
			&tokenFeed{watch: w, namespace: ns}, cache.ReflectorOptions{Name: "token Secrets", TypeDescription: "token Secrets", Logger: &w.log}))
	}
	return out
}

// run feeds the cache until the context ends. It waits for the first look at the
// keys: what comes earlier would have to be checked once more.
func (w *tokenWatch) run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-w.inventory.trust.FirstTry():
	}
	select {
	case <-w.verify:
	default:
	}
	var group sync.WaitGroup
	for _, r := range w.reflectors() {
		group.Go(func() { r.RunWithContext(ctx) })
	}
	group.Go(func() { w.reverify(ctx) })
	group.Wait()
}

// reverify checks all token Secrets anew whenever the trust has changed: tokens
// are read again, since they are not kept. Until it is through, what it has not
// reached is read when somebody asks.
func (w *tokenWatch) reverify(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.verify:
		}
		for _, ns := range w.namespaces {
			if err := w.reverifyIn(ctx, ns); err != nil && ctx.Err() == nil {
				w.log.Error(err, "Token Secrets can't be read after the keys changed; each is read when it is asked for", "retryAfter", verifyRetry.String())
				time.AfterFunc(verifyRetry, func() { note(w.verify) })
			}
		}
	}
}

func (w *tokenWatch) reverifyIn(ctx context.Context, namespace string) error {
	started := time.Now()
	options := metav1.ListOptions{FieldSelector: cluster.TokenSecrets(), Limit: verifyPage}
	n := 0
	for {
		page, err := w.core.CoreV1().Secrets(namespace).List(ctx, options)
		if err != nil {
			return err
		}
		for i := range page.Items {
			s := &page.Items[i]
			w.inventory.keepSecret(s)
		}
		n += len(page.Items)
		if options.Continue = page.Continue; options.Continue == "" {
			w.log.V(1).Info("Token Secrets verified by new keys", "namespace", namespace, "secrets", n, "took", time.Since(started).String())
			return nil
		}
	}
}

// keepSecret takes what a token Secret holds into the cache, unless it has been
// deleted since it was read.
func (v *Inventory) keepSecret(s *corev1.Secret) {
	if _, ok := v.watched[reference.Secret].index.get(s.Namespace, s.Name); ok {
		v.contents.put(facts.Object{Kind: reference.Secret, Namespace: s.Namespace, Name: s.Name}, v.contentsOf(v.reducer.Secret(s), true))
	}
}

func (v *Inventory) contentsOf(o *cluster.Object, watched bool) *contents {
	index := v.watched[reference.Secret].index
	return &contents{
		entry: entry{uid: index.compactUID(types.UID(o.UID)), version: index.compactVersion(o.ResourceVersion)}, Object: o, watched: watched,
	}
}

// tokenFeed takes what one Reflector brings: all namespaces, or one.
type tokenFeed struct {
	watch     *tokenWatch
	namespace string
	complete  bool
	versions  versions
}

var (
	_ cache.TransformingStore      = &tokenFeed{}
	_ cache.ResourceVersionUpdater = &tokenFeed{}
)

// reduced is a token Secret on its way into the cache, without its token.
type reduced struct {
	metav1.Object
	namespace, name string
	uid             types.UID
	version         string
	contents        *contents
}

func (r *reduced) GetNamespace() string       { return r.namespace }
func (r *reduced) GetName() string            { return r.name }
func (r *reduced) GetUID() types.UID          { return r.uid }
func (r *reduced) GetResourceVersion() string { return r.version }

func (r *reduced) id() facts.Object {
	return facts.Object{Kind: reference.Secret, Namespace: r.namespace, Name: r.name}
}

// Transformer implements cache.TransformingStore: the token is dropped before
// a Reflector buffers anything. A Reflector uses it for the first objects of a
// watch alone; what comes by a list or later is reduced in Update.
func (f *tokenFeed) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if s, ok := obj.(*corev1.Secret); ok {
			return f.reduce(s), nil
		}
		return obj, nil
	}
}

func (f *tokenFeed) reduce(s *corev1.Secret) *reduced {
	v := f.watch.inventory
	return &reduced{
		namespace: s.Namespace, name: s.Name, uid: s.UID, version: s.ResourceVersion,
		contents: v.contentsOf(v.reducer.Secret(s), true),
	}
}

// Add implements cache.ReflectorStore.
func (f *tokenFeed) Add(obj any) error { return f.Update(obj) }

// Update implements cache.ReflectorStore.
func (f *tokenFeed) Update(obj any) error {
	_, err := f.keep(obj)
	return err
}

func (f *tokenFeed) keep(obj any) (facts.Object, error) {
	r, ok := obj.(*reduced)
	if s, whole := obj.(*corev1.Secret); whole {
		r, ok = f.reduce(s), true
	}
	if !ok {
		return facts.Object{}, fmt.Errorf("token Secrets: unexpected %T", obj)
	}
	f.watch.inventory.contents.put(r.id(), r.contents)
	return r.id(), nil
}

// Delete implements cache.ReflectorStore.
func (f *tokenFeed) Delete(obj any) error {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	o, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("token Secrets: %w", err)
	}
	f.watch.inventory.contents.forget(facts.Object{Kind: reference.Secret, Namespace: o.GetNamespace(), Name: o.GetName()})
	return nil
}

// UpdateResourceVersion implements cache.ResourceVersionUpdater.
func (f *tokenFeed) UpdateResourceVersion(version string) { f.versions.note(version) }

// Replace implements cache.ReflectorStore: the result of a list. After a restore of
// etcd nothing stays that is newer than the list.
func (f *tokenFeed) Replace(list []any, version string) error {
	if f.versions.note(version) {
		f.watch.inventory.contents.keepWatched(f.namespace, nil)
	}
	names := make(map[facts.Object]bool, len(list))
	for _, item := range list {
		o, err := f.keep(item)
		if err != nil {
			return err
		}
		names[o] = true
	}
	f.watch.inventory.contents.keepWatched(f.namespace, names)
	if !f.complete {
		f.complete = true
		<-f.watch.unsynced
	}
	return nil
}

// Resync implements cache.ReflectorStore; nothing here needs it.
func (f *tokenFeed) Resync() error { return nil }
