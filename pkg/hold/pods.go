package hold

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/reference"
)

// heldPod is a pod with the label, reduced to what counts.
type heldPod struct {
	uid     types.UID
	version string
	created time.Time
	// encoded is the pod as protobuf: ten thousand of them are kept.
	encoded []byte
	// released is set once the gate was taken away; the watch has not told yet.
	released bool
	// triggered is when something last changed that the pod may wait for.
	triggered time.Time
	// refusals counts those of the API server; until notBefore none is tried again.
	refusals  int
	notBefore time.Time
	// known is what the last judgement came to; until is zero where that has no end.
	known policy.Held
	until time.Time
}

// overdue reports whether the pod is held for longer than its policies say.
func (p *heldPod) overdue(now time.Time) bool {
	return p.known.Holds && now.After(p.created.Add(p.known.MaxDuration+overdueAfter))
}

// overdueAfter is how late a release may be before a pod counts as overdue.
const overdueAfter = 30 * time.Second

// decode returns the pod.
func (p *heldPod) decode() (*corev1.Pod, error) {
	var pod corev1.Pod
	if err := pod.Unmarshal(p.encoded); err != nil {
		return nil, fmt.Errorf("a held pod: %w", err)
	}
	return &pod, nil
}

// pods are those with the label, and what each of them waits for. It is a store of a
// Reflector.
type pods struct {
	due func(types.NamespacedName)

	mu      sync.Mutex
	byKey   map[types.NamespacedName]*heldPod
	waiting map[facts.Object]map[types.NamespacedName]bool
	objects map[types.NamespacedName][]facts.Object
}

func newPods(due func(types.NamespacedName)) *pods {
	return &pods{
		due: due, byKey: map[types.NamespacedName]*heldPod{}, waiting: map[facts.Object]map[types.NamespacedName]bool{},
		objects: map[types.NamespacedName][]facts.Object{},
	}
}

// Add implements cache.ReflectorStore.
func (s *pods) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s *pods) Update(obj any) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("hold: unexpected %T", obj)
	}
	key := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	if !policy.HasGate(pod) || pod.DeletionTimestamp != nil {
		s.forget(key)
		return nil
	}
	encoded, err := pod.Marshal()
	if err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	s.mu.Lock()
	fresh := &heldPod{uid: pod.UID, version: pod.ResourceVersion, created: pod.CreationTimestamp.Time, encoded: encoded}
	if old := s.byKey[key]; old != nil && old.uid == fresh.uid {
		fresh.triggered, fresh.known, fresh.until = old.triggered, old.known, old.until
	}
	s.byKey[key] = fresh
	s.mu.Unlock()
	s.due(key)
	return nil
}

// Delete implements cache.ReflectorStore: the pod is gone, or its label.
func (s *pods) Delete(obj any) error {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("hold: unexpected %T", obj)
	}
	s.forget(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
	return nil
}

// Resync implements cache.ReflectorStore; nothing here needs it.
func (*pods) Resync() error { return nil }

// replace takes over the list of one namespace, or of all.
func (s *pods) replace(namespace string, list []any) error {
	listed := map[types.NamespacedName]bool{}
	for _, item := range list {
		pod, ok := item.(*corev1.Pod)
		if !ok {
			return fmt.Errorf("hold: unexpected %T", item)
		}
		listed[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] = true
		if err := s.Update(pod); err != nil {
			return err
		}
	}
	for _, key := range s.keys() {
		if !listed[key] && (namespace == "" || namespace == key.Namespace) {
			s.forget(key)
		}
	}
	return nil
}

func (s *pods) forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byKey, key)
	s.waitFor(key, nil)
}

// get returns a copy of what is known of a pod.
func (s *pods) get(key types.NamespacedName) (heldPod, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.byKey[key]
	if !ok {
		return heldPod{}, false
	}
	return *p, true
}

// set changes what is known of a pod, if it is still the one that was judged.
func (s *pods) set(key types.NamespacedName, version string, change func(*heldPod)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.byKey[key]; p != nil && p.version == version {
		change(p)
	}
}

func (s *pods) trigger(key types.NamespacedName, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.byKey[key]; p != nil {
		p.triggered = now
	}
}

func (s *pods) keys() []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.byKey))
}

// each visits all pods. visit must return at once.
func (s *pods) each(visit func(*heldPod)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.byKey {
		visit(p)
	}
}

// depend notes, before an object is looked up, that a pod's judgement rests on it.
func (s *pods) depend(key types.NamespacedName, o facts.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey[key] == nil || s.waiting[o][key] {
		return
	}
	if s.waiting[o] == nil {
		s.waiting[o] = map[types.NamespacedName]bool{}
	}
	s.waiting[o][key] = true
	s.objects[key] = append(s.objects[key], o)
}

// settle forgets what the last judgement of a pod did not ask for.
func (s *pods) settle(key types.NamespacedName, asked map[facts.Object]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waitFor(key, asked)
}

// waitFor keeps what a pod waits for to what was asked.
func (s *pods) waitFor(key types.NamespacedName, asked map[facts.Object]bool) {
	s.objects[key] = slices.DeleteFunc(s.objects[key], func(o facts.Object) bool {
		if asked[o] {
			return false
		}
		if delete(s.waiting[o], key); len(s.waiting[o]) == 0 {
			delete(s.waiting, o)
		}
		return true
	})
	if len(s.objects[key]) == 0 {
		delete(s.objects, key)
	}
}

// dependents returns the pods whose judgement rests on an object. One without a name
// stands for all of its kind in its namespace, or everywhere.
func (s *pods) dependents(o facts.Object) []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Name != "" || o.SignerName != "" {
		return slices.Collect(maps.Keys(s.waiting[o]))
	}
	var out []types.NamespacedName
	for known, keys := range s.waiting {
		if covers(&o, &known) {
			out = slices.AppendSeq(out, maps.Keys(keys))
		}
	}
	return out
}

// unwatched returns the objects that pods wait for and that no watch tells of.
func (s *pods) unwatched() []facts.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []facts.Object
	for o := range s.waiting {
		if o.Kind == reference.ClusterTrustBundle {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b facts.Object) int { return cmpObjects(&a, &b) })
	return out
}
