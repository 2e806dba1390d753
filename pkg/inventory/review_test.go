package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// countingAPI is silentAPI with Secrets "hidden-N" that its watches do not bring. It counts
// single reads and lists, and fails if it is told to.
type countingAPI struct {
	gets, lists, ended atomic.Int32
	fails, hangs       atomic.Bool
}

func startCountingAPI(t *testing.T) (*rest.Config, *countingAPI) {
	t.Helper()
	behind, _ := silentAPI(t)
	target, err := url.Parse(behind.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	a := &countingAPI{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") != "" || !strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/") {
			proxy.ServeHTTP(w, r)
			return
		}
		a.read(w, r)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return &rest.Config{Host: server.URL}, a
}

func (a *countingAPI) read(w http.ResponseWriter, r *http.Request) {
	name, list := path.Base(r.URL.Path), strings.Count(r.URL.Path, "/") == 5
	if list {
		a.lists.Add(1)
	} else {
		a.gets.Add(1)
	}
	if a.hangs.Load() {
		<-r.Context().Done()
		a.ended.Add(1)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	metadata := func(name string) map[string]any {
		return map[string]any{"namespace": "shop", "name": name, "uid": "6f1b7d2e-0c11-4a53-9a8e-2f0f3d0c9a11", "resourceVersion": "1"}
	}
	partial := strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadata")
	switch {
	case a.fails.Load():
		w.WriteHeader(http.StatusInternalServerError)
	case list:
		items := []any{map[string]any{"metadata": metadata("db")}}
		for i := range 600 {
			items = append(items, map[string]any{"metadata": metadata(fmt.Sprint("hidden-", i))})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": map[string]any{"resourceVersion": "1"}, "items": items,
		})
	case name == "db" || strings.HasPrefix(name, "hidden-"):
		kind, version := "Secret", "v1"
		if partial {
			kind, version = "PartialObjectMetadata", "meta.k8s.io/v1"
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": kind, "apiVersion": version, "metadata": metadata(name), "data": map[string]any{"k": "eA=="}})
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"details":{"name":%q}}`, name)
	}
}

// secretsNamed asks for Secrets, and for a key of each where one is given.
func secretsNamed(namespace, prefix string, n int, keys ...string) []facts.Query {
	queries := make([]facts.Query, n)
	for i := range queries {
		queries[i] = facts.Query{Object: facts.Object{Kind: reference.Secret, Namespace: namespace, Name: fmt.Sprintf("%s-%d", prefix, i)}, Keys: keys}
	}
	return queries
}

func TestManyMissingNamesCostOneList(t *testing.T) {
	config, api := startCountingAPI(t)
	v := startInventory(t, config, Options{})
	queries := append(secretsNamed("shop", "gone", 500), secretQuery("hidden-1"))
	set := gather(t, v, queries...)
	for _, q := range queries {
		want := facts.Absent
		if q.Name == "hidden-1" {
			want = facts.Present
		}
		if f := set.Get(q.Object); f.State != want || !f.Fresh {
			t.Fatalf("%s: %+v, want %s by a read", q.Object, f, want)
		}
	}
	if api.lists.Load() != 1 || api.gets.Load() != 0 {
		t.Errorf("%d lists and %d single reads", api.lists.Load(), api.gets.Load())
	}
	set = gather(t, v, secretsNamed("shop", "gone", fewNames)...)
	if f := set.Get(queries[0].Object); f.State != facts.Absent || api.lists.Load() != 1 || api.gets.Load() != fewNames {
		t.Errorf("few names: %+v by %d lists and %d single reads", f, api.lists.Load(), api.gets.Load())
	}
}

func TestReadsThatConfirmHaveAShareOfTheirOwn(t *testing.T) {
	config, api := startCountingAPI(t)
	v := startInventory(t, config, Options{})
	fault := facts.Query{Object: facts.Object{Kind: reference.Secret, Namespace: "shop", Name: "db"}, Contents: true, Fresh: true}
	padding := secretsNamed("shop", "hidden", 500, "k")
	set := gather(t, v, append(padding, fault)...)
	if f := set.Get(fault.Object); f.State != facts.Present || !f.Fresh || !f.Contents {
		t.Errorf("what confirms a fault: %+v", f)
	}
	if n := api.gets.Load(); n > maxReads+1 {
		t.Errorf("%d single reads, want at most %d", n, maxReads+1)
	}
	refused := 0
	for _, q := range padding {
		if f := set.Get(q.Object); f.Why == facts.TooManyLookups {
			refused++
		}
	}
	if refused < len(padding)-maxReads {
		t.Errorf("%d of %d are unknown by the caller's own doing", refused, len(padding))
	}
}

func TestANamespaceThatSpendsItsRateLeavesTheOthersAlone(t *testing.T) {
	config, api := startCountingAPI(t)
	v := startInventory(t, config, Options{})
	spent := func() bool {
		queries := secretsNamed("shop", "hidden", maxReads, "k")
		set := gather(t, v, queries...)
		f := set.Get(queries[len(queries)-1].Object)
		return f.Why == facts.TooManyLookups
	}
	for try := 0; !spent(); try++ {
		if try > 2*burst/maxReads {
			t.Fatalf("the rate is not spent after %d reads", api.gets.Load())
		}
	}
	if f := gather(t, v, secretsNamed("bank", "gone", 1)...).Get(secretsNamed("bank", "gone", 1)[0].Object); f.State != facts.Absent {
		t.Errorf("another namespace: %+v", f)
	}
	for _, o := range []facts.Object{{Kind: facts.Node, Name: "n"}, {Kind: reference.ClusterTrustBundle, Name: "b"}} {
		mine, others := facts.Query{Object: o, Asker: "shop"}, facts.Query{Object: o, Asker: "bank"}
		for v.rate.take("shop", 1, time.Now().Add(time.Minute)) { // so that it does not fill while the test runs
			continue
		}
		if f := gather(t, v, mine).Get(o); f.Why != facts.TooManyLookups {
			t.Errorf("%s for the namespace itself: %+v", o, f)
		}
		if f := gather(t, v, others).Get(o); f.Why == facts.TooManyLookups {
			t.Errorf("%s for another namespace: %+v", o, f)
		}
	}
}

func TestABucketFillsAgain(t *testing.T) {
	r, now := newRate(), time.Unix(1e9, 0)
	taken := func(namespace string) (n int) {
		for r.take(namespace, 1, now) {
			n++
		}
		return n
	}
	if n := taken("shop"); n != burst {
		t.Errorf("%d at once, want %d", n, burst)
	}
	now = now.Add(time.Second)
	if n := taken("shop"); n != perSecond {
		t.Errorf("%d a second later, want %d", n, perSecond)
	}
	if now = now.Add(-time.Hour); r.take("shop", 1, now) {
		t.Error("a clock that goes back fills a bucket")
	}
	now = now.Add(2 * time.Hour)
	if n := taken("shop"); n != burst {
		t.Errorf("%d an hour later, want %d", n, burst)
	}
	for i := range 10 * manyBuckets {
		now = now.Add(time.Second)
		r.take(fmt.Sprint("namespace-", i), 1, now)
	}
	if len(r.buckets) > 2*manyBuckets {
		t.Errorf("%d buckets are kept, most of them full", len(r.buckets))
	}
}

func TestAnAPIServerThatFailsIsNotFlooded(t *testing.T) {
	config, api := startCountingAPI(t)
	v := startInventory(t, config, Options{})
	api.fails.Store(true)
	gone := secretsNamed("shop", "gone", 1)
	began := time.Now()
	for range 2 * burst { // more than the rate allows: what is not read is not paid for
		if f := gather(t, v, gone...).Get(gone[0].Object); f.State != facts.Unknown || f.Why.IsCallersDoing() {
			t.Fatalf("a miss: %+v", f)
		}
		if f := gather(t, v, secretQuery("db")).Get(secretQuery("db").Object); f.State != facts.Present {
			t.Fatalf("what the index has: %+v", f)
		}
	}
	if n, most := int(api.gets.Load()), breakAfter+2+int(time.Since(began)/probeEvery); n > most {
		t.Errorf("%d reads, want at most %d", n, most)
	}
	api.fails.Store(false)
	waitFor(t, func() bool { f := gather(t, v, gone...).Get(gone[0].Object); return f.State == facts.Absent })
}

func TestAReadEndsWhenNobodyWaitsForIt(t *testing.T) {
	config, api := startCountingAPI(t)
	v := startInventory(t, config, Options{})
	api.hangs.Store(true)
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		waitFor(t, func() bool { return api.gets.Load() > 0 })
		leave()
	}()
	v.Gather(ctx, time.Now(), func(*facts.Set) []facts.Query { return secretsNamed("shop", "gone", 1) })
	began := time.Now()
	waitFor(t, func() bool { return api.ended.Load() > 0 })
	if took := time.Since(began); took > readTimeout/2 {
		t.Errorf("the read went on for %s", took)
	}
}

func TestAnOptionalMissNeedsNoReadUnlessItMayRefuse(t *testing.T) {
	config, api := startCountingAPI(t)
	v := startInventory(t, config, Options{})
	q := secretsNamed("shop", "gone", 1)[0]
	q.Contents, q.IfIndexed = true, true
	if f := gather(t, v, q).Get(q.Object); f.State != facts.Absent || f.Why != facts.NotIndexed || api.gets.Load() != 0 {
		t.Errorf("%+v by %d reads", f, api.gets.Load())
	}
	both := q
	both.IfIndexed = false
	if f := gather(t, v, q, both).Get(q.Object); f.State != facts.Absent || f.Why != facts.NoReason || api.gets.Load() != 1 {
		t.Errorf("asked by another check, too: %+v by %d reads", f, api.gets.Load())
	}
}

func TestASilentWatchDoesNotTurnAllLookUpsIntoReads(t *testing.T) {
	config, api := startCountingAPI(t)
	v := startInventory(t, config, Options{StaleAfter: time.Nanosecond})
	q := secretQuery("db")
	began := time.Now()
	for range 500 {
		if f := gather(t, v, q).Get(q.Object); f.State != facts.Present {
			t.Fatalf("got %+v", f)
		}
	}
	if n, most := int(api.gets.Load()), burst/doubtCost+1+int(time.Since(began).Seconds()*perSecond/doubtCost); n == 0 || n > most {
		t.Errorf("%d reads, want some, and at most %d", n, most)
	}
	keyed := secretQuery("db", "k") // what it holds is read all the same
	before := api.gets.Load()
	if f := gather(t, v, keyed).Get(q.Object); f.Key("k") != facts.Present || api.gets.Load() != before+1 {
		t.Errorf("%+v by %d more reads", f, api.gets.Load()-before)
	}
}

func TestTimeThatNoReadHasTakenIsTheCallersOwn(t *testing.T) {
	config, api := startCountingAPI(t)
	v := startInventory(t, config, Options{})
	over, cancel := context.WithCancel(t.Context())
	cancel()
	gone := secretsNamed("shop", "gone", 1)
	set := v.Gather(over, time.Now(), func(*facts.Set) []facts.Query { return gone })
	if f := set.Get(gone[0].Object); f.Why != facts.TooManyLookups || api.gets.Load() != 0 {
		t.Errorf("%+v by %d reads", f, api.gets.Load())
	}
}
