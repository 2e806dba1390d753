package inventory

import (
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// index knows which objects of one kind there are. A Reflector feeds it; it
// keeps some 100 bytes an object, whatever the object holds.
type index struct {
	mu         sync.RWMutex
	namespaces map[string]map[string]entry
	objects    int
	synced     atomic.Bool
	onChange   func(objects int, synced bool)
	seed       maphash.Seed // for identities that are not of the usual form
}

// entry is all that is kept of an object besides its name.
type entry struct {
	uid      [16]byte
	version  uint64
	deleting bool
}

var _ cache.TransformingStore = &index{}

func newIndex(onChange func(objects int, synced bool)) *index {
	return &index{namespaces: map[string]map[string]entry{}, onChange: onChange, seed: maphash.MakeSeed()}
}

// has reports whether the index has the object.
func (x *index) has(namespace, name string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, ok := x.namespaces[namespace][name]
	return ok
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

// Add implements cache.ReflectorStore.
func (x *index) Add(obj any) error { return x.Update(obj) }

// Update implements cache.ReflectorStore.
func (x *index) Update(obj any) error {
	o, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.put(x.namespaces, o)
	x.changed()
	return nil
}

// Delete implements cache.ReflectorStore.
func (x *index) Delete(obj any) error {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	o, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	names := x.namespaces[o.GetNamespace()]
	delete(names, o.GetName())
	if len(names) == 0 {
		delete(x.namespaces, o.GetNamespace())
	}
	x.changed()
	return nil
}

// Replace implements cache.ReflectorStore: the result of a list.
func (x *index) Replace(list []any, _ string) error {
	fresh := map[string]map[string]entry{}
	for _, item := range list {
		o, err := meta.Accessor(item)
		if err != nil {
			return fmt.Errorf("index: %w", err)
		}
		x.put(fresh, o)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.namespaces = fresh
	x.synced.Store(true)
	x.changed()
	return nil
}

// Resync implements cache.ReflectorStore; nothing here needs it.
func (x *index) Resync() error { return nil }

// Transformer implements cache.TransformingStore: objects are reduced before a
// Reflector buffers them. Annotations may hold a Secret's data in the clear
// (last-applied-configuration), so nothing but what is needed is kept.
func (x *index) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		o, err := meta.Accessor(obj)
		if err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			// Clones, so that no name keeps the response's whole buffer alive.
			Namespace: strings.Clone(o.GetNamespace()), Name: strings.Clone(o.GetName()),
			UID: types.UID(strings.Clone(string(o.GetUID()))), ResourceVersion: strings.Clone(o.GetResourceVersion()),
			DeletionTimestamp: o.GetDeletionTimestamp(),
		}}, nil
	}
}

func (x *index) put(into map[string]map[string]entry, o metav1.Object) {
	names := into[o.GetNamespace()]
	if names == nil {
		names = map[string]entry{}
		into[strings.Clone(o.GetNamespace())] = names
	}
	names[strings.Clone(o.GetName())] = entry{
		uid: x.compactUID(o.GetUID()), version: x.compactVersion(o.GetResourceVersion()), deleting: o.GetDeletionTimestamp() != nil,
	}
}

// changed tells the metrics. The lock is held.
func (x *index) changed() {
	n := 0
	for _, names := range x.namespaces {
		n += len(names)
	}
	x.objects = n
	x.onChange(n, x.synced.Load())
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
