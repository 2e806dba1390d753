package inventory

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

func object(namespace, name, version string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, ResourceVersion: version, UID: types.UID("6f1b7d2e-0c11-4a53-9a8e-2f0f3d0c9a11"),
		Annotations: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "MARKER"}, Labels: map[string]string{"a": "MARKER"},
	}}
}

func TestIndexFollowsItsFeeds(t *testing.T) {
	counted := 0
	x := newIndex(func(n int) { counted = n })
	synced := false
	all := &feed{index: x, heard: func() {}, onSynced: func() { synced = true }}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(all.Replace([]any{object("a", "1", "1"), object("a", "2", "2"), object("b", "1", "3")}, "3"))
	must(all.Update(object("a", "1", "4")))
	must(all.Add(object("c", "1", "5")))
	must(all.Delete(cache.DeletedFinalStateUnknown{Obj: object("b", "1", "6")}))
	must(all.Delete(object("b", "1", "6")))
	if e, ok := x.get("a", "1"); !ok || e.version != 4 || e.uid[0] != 0x6f || e.uid[15] != 0x11 || !synced || counted != 3 {
		t.Errorf("got %+v, synced %t, %d objects", e, synced, counted)
	}
	if _, ok := x.get("b", "1"); ok || len(x.namespaces) != 2 {
		t.Errorf("deleted objects and empty namespaces stay: %v", x.namespaces)
	}
	must(all.Replace([]any{object("a", "9", "7")}, "7"))
	if _, ok := x.get("a", "1"); ok || counted != 1 {
		t.Error("a new list does not take the place of the old one")
	}
}

func TestAFeedOfOneNamespaceLeavesTheOthersAlone(t *testing.T) {
	counted := 0
	x := newIndex(func(n int) { counted = n })
	a, b := &feed{index: x, heard: func() {}, namespace: "a", onSynced: func() {}}, &feed{index: x, namespace: "b", onSynced: func() {}}
	for _, step := range []error{
		a.Replace([]any{object("a", "1", "1"), object("a", "2", "2")}, "1"), b.Replace([]any{object("b", "1", "1")}, "1"),
		a.Replace([]any{object("a", "3", "3")}, "3"), b.Replace(nil, "4"),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	if _, ok := x.get("a", "3"); !ok || counted != 1 || len(x.namespaces) != 1 {
		t.Errorf("%d objects: %v", counted, x.namespaces)
	}
}

// Reflectors reduce what a watch begins with, and nothing else.
func TestNamespacesAreKeptWholeHoweverTheyCome(t *testing.T) {
	x := newIndex(func(int) {})
	x.keepWhole = true
	f := &feed{index: x, heard: func() {}, onSynced: func() {}}
	namespace := func(team string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{
			"name": "shop", "labels": map[string]any{"team": team}, "managedFields": []any{map[string]any{"manager": "kubectl"}},
		}}}
	}
	reduced, err := f.Transformer()(namespace("first"))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		team string
		do   func() error
	}{
		{"first", func() error { return f.Update(reduced) }},
		{"second", func() error { return f.Update(namespace("second")) }},
		{"third", func() error { return f.Replace([]any{namespace("third")}, "1") }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		whole := x.wholeOf("shop")
		if whole == nil || whole.Labels["team"] != step.team {
			t.Fatalf("%s: got %+v", step.team, whole)
		}
		if metadata := whole.Whole["metadata"].(map[string]any); metadata["managedFields"] != nil {
			t.Errorf("%s: managedFields are kept", step.team)
		}
	}
}

func TestOddIdentitiesAreToldApart(t *testing.T) {
	x := newIndex(func(int) {})
	if x.compactUID("not-a-uuid") == x.compactUID("not-a-uuid-2") || x.compactVersion("x") == x.compactVersion("y") {
		t.Error("two identities have the same compact form")
	}
	if x.compactUID("6f1b7d2e-0c11-4a53-9a8e-2f0f3d0c9a11ff") == x.compactUID("6f1b7d2e-0c11-4a53-9a8e-2f0f3d0c9a11") {
		t.Error("a longer uid is taken for its beginning")
	}
}

func TestNothingButTheIdentityIsBuffered(t *testing.T) {
	f := &feed{index: newIndex(func(int) {})}
	reduced, err := f.Transformer()(object("a", "1", "1"))
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%+v", reduced); containsMarker(text) {
		t.Errorf("got %s", text)
	}
	if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(reduced); err != nil || key != "a/1" {
		t.Errorf("key %q, %v", key, err)
	}
}

func containsMarker(text string) bool { return strings.Contains(text, "MARKER") }

func TestWhatAnObjectHoldsIsGoodForItsVersion(t *testing.T) {
	c := newContentsCache()
	o := facts.Object{Kind: reference.Secret, Namespace: "a", Name: "1"}
	at := func(version uint64) *contents {
		return &contents{entry: entry{version: version}, Object: &cluster.Object{}}
	}
	c.put(o, at(2))
	for _, known := range []uint64{1, 2} {
		if _, ok := c.get(o, entry{version: known}); !ok {
			t.Errorf("version 2 is not given out while the index knows version %d", known)
		}
	}
	if _, ok := c.get(o, entry{version: 3}); ok {
		t.Error("what an earlier version held is given out")
	}
	if _, ok := c.get(o, entry{version: 2, uid: [16]byte{1}}); ok {
		t.Error("what another object of the same name held is given out")
	}
	c.put(o, at(1))
	c.outdate(o, entry{version: 2})
	if _, ok := c.get(o, entry{version: 2}); !ok {
		t.Error("an earlier version takes the place of a later one")
	}
	c.outdate(o, entry{version: 3})
	if len(c.objects) != 0 {
		t.Error("it is kept though the object has changed")
	}
}

func TestWhatWasReadIsBoundedAndTokenSecretsStay(t *testing.T) {
	c := newContentsCache()
	object := func(i int) facts.Object {
		return facts.Object{Kind: reference.Secret, Namespace: "a", Name: fmt.Sprint(i)}
	}
	c.put(object(-1), &contents{Object: &cluster.Object{}, watched: true})
	for i := range maxContents + 10 {
		c.put(object(i), &contents{Object: &cluster.Object{}})
	}
	if len(c.objects) != maxContents+1 || c.read != maxContents {
		t.Errorf("%d objects are kept, %d of them read", len(c.objects), c.read)
	}
	if _, ok := c.objects[object(-1)]; !ok {
		t.Error("a token Secret was dropped")
	}
	c.keepWatched("a", nil)
	if _, ok := c.objects[object(-1)]; ok {
		t.Error("a token Secret that is gone is kept")
	}
}

// The budget is 200 bytes a Secret.
func TestIndexIsSmall(t *testing.T) {
	const n = 100_000
	x := newIndex(func(int) {})
	f := &feed{index: x, heard: func() {}, onSynced: func() {}}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range n {
		o := &slim{namespace: fmt.Sprintf("team-%d", i%200), name: fmt.Sprintf("app-%d-credentials-%d", i%500, i), version: fmt.Sprint(i), uid: types.UID(fmt.Sprintf("%08x-0c11-4a53-9a8e-2f0f3d0c9a11", i))}
		if err := f.Update(o); err != nil {
			t.Fatal(err)
		}
	}
	per := float64(heap()-before) / n
	t.Logf("%.0f bytes a Secret", per)
	if per > 200 {
		t.Errorf("%.0f bytes a Secret, want at most 200", per)
	}
	runtime.KeepAlive(x)
}
