package sim

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// kind is one of the kinds that the API servers serve.
type kind struct {
	resource, apiVersion, kind string
}

func kinds() map[string]kind {
	return map[string]kind{
		"secrets":         {"secrets", "v1", "Secret"},
		"configmaps":      {"configmaps", "v1", "ConfigMap"},
		"serviceaccounts": {"serviceaccounts", "v1", "ServiceAccount"},
		"namespaces":      {"namespaces", "v1", "Namespace"},
		"pods":            {"pods", "v1", "Pod"},
		"nodes":           {"nodes", "v1", "Node"},
		"tokenpolicies":   {"tokenpolicies", "tokenward.dev/v1alpha1", "TokenPolicy"},
	}
}

// id names an object.
type id struct{ resource, namespace, name string }

func (i id) String() string { return strings.Trim(i.resource+" "+i.namespace+"/"+i.name, "/") }

func compareIDs(a, b id) int {
	return cmp.Or(cmp.Compare(a.resource, b.resource), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
}

// object is one object in one version. It is never written to once it is stored.
type object struct {
	id
	uid         string
	version     int64
	created     time.Time
	deleting    time.Time
	labels      map[string]string
	annotations map[string]string
	data        map[string][]byte // of Secrets and ConfigMaps
	binaryData  map[string][]byte // of ConfigMaps
	typ         string            // of Secrets
	fields      map[string]any    // whatever else stands beside metadata

	forms *forms // in which it is sent
}

// event is one change of an object.
type event struct {
	kind    string // ADDED, MODIFIED, DELETED
	version int64
	at      time.Time
	object  *object // as it is now, or as it was at last
	before  *object // nil if there was none
}

// store stands for etcd: all versions of all objects.
type store struct {
	mu        sync.Mutex
	version   int64
	compacted int64 // of events up to this one nothing is known any more
	restores  int   // how often a backup was restored
	objects   map[id]*object
	events    []event
	changed   chan struct{} // closed at the next change
}

func newStore() *store {
	return &store{version: 1, objects: map[id]*object{}, changed: make(chan struct{})}
}

// get returns an object, or nil.
func (s *store) get(i id) *object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[i]
}

// all returns the objects of a resource, or of one of its namespaces, by name.
func (s *store) all(resource, namespace string) []*object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return selected(s.objects, resource, namespace)
}

func selected(from map[id]*object, resource, namespace string) []*object {
	var found []*object
	for i, o := range from {
		if i.resource == resource && (namespace == "" || i.namespace == namespace) {
			found = append(found, o)
		}
	}
	slices.SortFunc(found, func(a, b *object) int { return compareIDs(a.id, b.id) })
	return found
}

// put stores an object under the next version.
func (s *store) put(o *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	now := time.Now()
	before := s.objects[o.id]
	happened := "ADDED"
	if o.version = s.version; before != nil {
		happened = "MODIFIED"
		o.created = before.created
	} else {
		o.created = now
	}
	o.forms = newForms(o)
	s.objects[o.id] = o
	s.note(event{happened, s.version, now, o, before})
}

// remove deletes an object, if there is one.
func (s *store) remove(i id) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.objects[i]
	if before == nil {
		return false
	}
	s.version++
	last := *before
	last.version = s.version
	last.forms = newForms(&last)
	delete(s.objects, i)
	s.note(event{"DELETED", s.version, time.Now(), &last, before})
	return true
}

func (s *store) note(e event) {
	s.events = append(s.events, e)
	close(s.changed)
	s.changed = make(chan struct{})
}

// compact forgets all events so far: older watches and pages are answered 410.
func (s *store) compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compacted = s.version
}

// stateAt returns the objects as they were in a version.
func (s *store) stateAt(version int64) map[id]*object {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := maps.Clone(s.objects)
	for i := len(s.events) - 1; i >= 0 && s.events[i].version > version; i-- {
		if e := &s.events[i]; e.before == nil {
			delete(state, e.object.id)
		} else {
			state[e.object.id] = e.before
		}
	}
	return state
}

// backup is what etcd held once.
type backup struct {
	version int64
	objects map[id]*object
}

func (s *store) backup() *backup {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &backup{s.version, maps.Clone(s.objects)}
}

// bump is by how much "etcdutl snapshot restore --bump-revision" raises the version.
const bump = 1_000_000

// restore brings a backup back: versions go back with it, or are bumped, and none of
// the events since are known.
func (s *store) restore(b *backup, bumped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	version := b.version
	if bumped {
		version = s.version + bump
	}
	s.version, s.compacted, s.objects, s.events = version, version, maps.Clone(b.objects), nil
	s.restores++
	close(s.changed)
	s.changed = make(chan struct{})
}
