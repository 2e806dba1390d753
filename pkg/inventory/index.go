package inventory

import (
	"fmt"
	"hash/maphash"
	"maps"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"tokenward.dev/tokenward/pkg/cluster"
)

// index knows which objects of one kind there are. Feeds fill it; it keeps some
// 120 bytes an object, whatever the object holds.
type index struct {
	mu         sync.RWMutex
	namespaces map[string]map[string]entry
	whole      map[string]*cluster.Object // by name; only where keepWhole is set
	keepWhole  bool
	count      int
	seed       maphash.Seed // for identities that are not of the usual form
	onCount    func(objects int)
	// onChange is called when an object was changed or, with nil, deleted; isNew
	// is set where it was not known before.
	onChange func(namespace, name string, isNew bool, now *entry)
	// onList is called with the entries of a list of one namespace, or all, before
	// anybody sees them. wentBack is set where the list is older than what the feed
	// has seen: etcd was restored.
	onList func(namespace string, listed func(namespace, name string) (entry, bool), wentBack bool)
	// onReplace is called with the namespaces in which a list brought something
	// that the watch had not.
	onReplace func(namespaces []string)
}

// entry is all that is kept of an object besides its name.
type entry struct {
	uid      [16]byte
	version  uint64
	deleting bool
}

func newIndex(onCount func(int)) *index {
	return &index{
		namespaces: map[string]map[string]entry{}, whole: map[string]*cluster.Object{},
		seed: maphash.MakeSeed(), onCount: onCount, onChange: func(string, string, bool, *entry) {}, onReplace: func([]string) {},
		onList: func(string, func(string, string) (entry, bool), bool) {},
	}
}

// get returns what is kept of an object.
func (x *index) get(namespace, name string) (entry, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	e, ok := x.namespaces[namespace][name]
	return e, ok
}

// size returns how many objects a namespace has.
func (x *index) size(namespace string) int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.namespaces[namespace])
}

// wholeOf returns a cluster-scoped object. It is not to be written to.
func (x *index) wholeOf(name string) *cluster.Object {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.whole[name]
}

// namesWith returns the names in a namespace that a function selects.
func (x *index) namesWith(namespace string, selects func(name string) bool) []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var names []string
	for name := range x.namespaces[namespace] {
		if selects(name) {
			names = append(names, name)
		}
	}
	return names
}

// put and remove hold no lock.
func (x *index) put(o metav1.Object) entry {
	names := x.namespaces[o.GetNamespace()]
	if names == nil {
		names = map[string]entry{}
		x.namespaces[o.GetNamespace()] = names
	}
	before := len(names)
	e := x.entryOf(o)
	names[o.GetName()] = e
	x.count += len(names) - before
	if x.keepWhole {
		switch o := o.(type) {
		case *slim:
			x.whole[o.name] = o.whole
		case *unstructured.Unstructured:
			x.whole[o.GetName()] = cluster.Namespace(o)
		}
	}
	return e
}

func (x *index) remove(namespace, name string) {
	names := x.namespaces[namespace]
	if _, ok := names[name]; ok {
		x.count--
	}
	delete(names, name)
	if len(names) == 0 {
		delete(x.namespaces, namespace)
	}
	delete(x.whole, name)
}

func (x *index) entryOf(o metav1.Object) entry {
	return entry{uid: x.compactUID(o.GetUID()), version: x.compactVersion(o.GetResourceVersion()), deleting: o.GetDeletionTimestamp() != nil}
}

// compactUID packs a UUID into its 16 bytes. Any other text is hashed.
func (x *index) compactUID(uid types.UID) (out [16]byte) {
	i := 0
	for _, c := range []byte(uid) {
		if c == '-' {
			continue
		}
		d := strings.IndexByte("0123456789abcdef", c)
		if d < 0 || i == 32 {
			h := maphash.String(x.seed, string(uid))
			for b := range 8 {
				out[b] = byte(h >> (8 * b))
			}
			return out
		}
		out[i/2] = out[i/2]<<4 | byte(d)
		i++
	}
	return out
}

// compactVersion packs a resource version, which is a number on every API
// server there is. Any other text is hashed.
func (x *index) compactVersion(version string) uint64 {
	if n, err := strconv.ParseUint(version, 10, 64); err == nil {
		return n
	}
	return maphash.String(x.seed, version)
}

// feed takes what one Reflector brings into an index: all namespaces, or one.
type feed struct {
	index     *index
	heard     func() // something came, a bookmark perhaps
	namespace string // empty: all
	onSynced  func()
	versions  versions
}

var (
	_ cache.TransformingStore      = &feed{}
	_ cache.ResourceVersionUpdater = &feed{}
)

// versions is the latest resource version that a Reflector has heard of. It is for
// one goroutine.
type versions struct{ latest uint64 }

// note takes a version down, and reports whether it is an earlier one.
func (v *versions) note(text string) (wentBack bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return false
	}
	wentBack = n < v.latest
	v.latest = n
	return wentBack
}

// UpdateResourceVersion implements cache.ResourceVersionUpdater: each event has one.
func (f *feed) UpdateResourceVersion(version string) { f.versions.note(version) }

// Add implements cache.ReflectorStore.
func (f *feed) Add(obj any) error { return f.Update(obj) }

// Update implements cache.ReflectorStore.
func (f *feed) Update(obj any) error {
	f.heard()
	o, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	f.index.mu.Lock()
	defer f.index.mu.Unlock()
	_, known := f.index.namespaces[o.GetNamespace()][o.GetName()]
	e := f.index.put(o)
	f.index.onChange(o.GetNamespace(), o.GetName(), !known, &e)
	f.index.onCount(f.index.count)
	return nil
}

// Delete implements cache.ReflectorStore.
func (f *feed) Delete(obj any) error {
	f.heard()
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	o, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	f.index.mu.Lock()
	defer f.index.mu.Unlock()
	f.index.remove(o.GetNamespace(), o.GetName())
	f.index.onChange(o.GetNamespace(), o.GetName(), false, nil)
	f.index.onCount(f.index.count)
	return nil
}

// Replace implements cache.ReflectorStore: the result of a list. Readers see
// the old content until the new is complete.
func (f *feed) Replace(list []any, version string) error {
	x := f.index
	fresh := &index{namespaces: map[string]map[string]entry{}, whole: map[string]*cluster.Object{}, keepWhole: x.keepWhole, seed: x.seed}
	for _, item := range list {
		o, err := meta.Accessor(item)
		if err != nil {
			return fmt.Errorf("index: %w", err)
		}
		fresh.put(o)
	}
	wentBack := f.versions.note(version)
	x.mu.Lock()
	x.onList(f.namespace, fresh.get, wentBack)
	changed := f.changes(fresh)
	if f.namespace == "" {
		x.namespaces, x.whole, x.count = fresh.namespaces, fresh.whole, fresh.count
	} else {
		x.count += fresh.count - len(x.namespaces[f.namespace])
		delete(x.namespaces, f.namespace)
		if names := fresh.namespaces[f.namespace]; names != nil {
			x.namespaces[f.namespace] = names
		}
	}
	x.onCount(x.count)
	x.mu.Unlock()
	x.onReplace(changed)
	f.onSynced()
	return nil
}

// changes returns the namespaces in which a list is not what the index has.
func (f *feed) changes(fresh *index) []string {
	var changed []string
	for namespace, names := range fresh.namespaces {
		if !maps.Equal(names, f.index.namespaces[namespace]) {
			changed = append(changed, namespace)
		}
	}
	for namespace := range f.index.namespaces {
		if _, ok := fresh.namespaces[namespace]; !ok && (f.namespace == "" || f.namespace == namespace) {
			changed = append(changed, namespace)
		}
	}
	return changed
}

// Bookmark implements cache.ReflectorBookmarkStore.
func (f *feed) Bookmark(string) error {
	f.heard()
	return nil
}

// Resync implements cache.ReflectorStore; nothing here needs it.
func (f *feed) Resync() error { return nil }

// Transformer implements cache.TransformingStore: objects are reduced before a
// Reflector buffers them; those that come by a list or later are not, so that
// put takes them as they are. Annotations may hold a Secret's data in the clear
// (last-applied-configuration), so nothing but what is needed is kept.
func (f *feed) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		o, err := meta.Accessor(obj)
		if err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		s := &slim{
			namespace: o.GetNamespace(), name: o.GetName(), version: o.GetResourceVersion(),
			uid: o.GetUID(), deletion: o.GetDeletionTimestamp(),
		}
		if u, ok := obj.(*unstructured.Unstructured); ok && f.index.keepWhole {
			s.whole = cluster.Namespace(u)
		}
		return s, nil
	}
}

// slim is an object reduced to what the index keeps. It has the methods of
// metav1.Object that a store calls; the others are never called.
type slim struct {
	metav1.Object
	namespace, name, version string
	uid                      types.UID
	deletion                 *metav1.Time
	whole                    *cluster.Object // where the index keeps it
}

func (s *slim) GetNamespace() string               { return s.namespace }
func (s *slim) GetName() string                    { return s.name }
func (s *slim) GetResourceVersion() string         { return s.version }
func (s *slim) GetUID() types.UID                  { return s.uid }
func (s *slim) GetDeletionTimestamp() *metav1.Time { return s.deletion }
