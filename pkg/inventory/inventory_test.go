package inventory

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/reference"
)

// silentAPI has one Secret, "shop/db" with the key "k", and its Namespace. Its
// watches send what there is, and then nothing more.
func silentAPI(t *testing.T) (config *rest.Config, reads *atomic.Int32) {
	t.Helper()
	reads = &atomic.Int32{}
	object := func(kind string) string {
		return `{"apiVersion":"` + map[bool]string{true: "v1", false: "meta.k8s.io/v1"}[kind == "Secret"] + `","kind":"` + kind +
			`","metadata":{"namespace":"shop","name":"db","uid":"6f1b7d2e-0c11-4a53-9a8e-2f0f3d0c9a11","resourceVersion":"1"},"data":{"k":"eA=="}}`
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(r.URL.Path, "/openid/") || strings.HasPrefix(r.URL.Path, "/.well-known/") { // no keys are published
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if r.URL.Query().Get("watch") == "" {
			reads.Add(1)
			if path.Base(r.URL.Path) != "db" {
				w.WriteHeader(http.StatusNotFound)
				_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"details":{"name":%q}}`, path.Base(r.URL.Path))
				return
			}
			kind := "Secret"
			if strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadata") {
				kind = "PartialObjectMetadata"
			}
			_, _ = w.Write([]byte(object(kind)))
			return
		}
		kind := "PartialObjectMetadata"
		switch {
		case r.URL.Query().Get("fieldSelector") != "": // token Secrets: there is none
			kind = "Secret"
		case path.Base(r.URL.Path) == "secrets":
			_, _ = w.Write([]byte(`{"type":"ADDED","object":` + object("PartialObjectMetadata") + "}\n"))
		case path.Base(r.URL.Path) == "namespaces":
			_, _ = w.Write([]byte(`{"type":"ADDED","object":{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop","labels":{"team":"payments"},"resourceVersion":"1"}}}` + "\n"))
		}
		version := map[string]string{"Secret": "v1", "PartialObjectMetadata": "meta.k8s.io/v1"}[kind]
		_, _ = w.Write([]byte(`{"type":"BOOKMARK","object":{"apiVersion":"` + version + `","kind":"` + kind + `","metadata":{"resourceVersion":"1","annotations":{"k8s.io/initial-events-end":"true"}}}}` + "\n"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return &rest.Config{Host: server.URL}, reads
}

func startInventory(t *testing.T, config *rest.Config, o Options) *Inventory {
	t.Helper()
	v, err := New(config, o, metrics.New(), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = v.Start(ctx) }()
	t.Cleanup(func() { stop(); <-stopped })
	waitFor(t, v.Synced)
	return v
}

func gather(t *testing.T, v *Inventory, queries ...facts.Query) *facts.Set {
	t.Helper()
	return v.Gather(t.Context(), time.Now(), func(*facts.Set) []facts.Query { return queries })
}

func secretQuery(name string, keys ...string) facts.Query {
	return facts.Query{Object: facts.Object{Kind: reference.Secret, Namespace: "shop", Name: name}, Keys: keys}
}

func TestHitsAreAnsweredWithoutARead(t *testing.T) {
	config, reads := silentAPI(t)
	v := startInventory(t, config, Options{})
	q := secretQuery("db")
	set := gather(t, v, q)
	if f := set.Get(q.Object); f.State != facts.Present || reads.Load() != 0 {
		t.Errorf("%+v after %d reads", f, reads.Load())
	}
	keyed := secretQuery("db", "k")
	for range 3 {
		set = gather(t, v, keyed)
		if f := set.Get(q.Object); f.Key("k") != facts.Present || reads.Load() != 1 {
			t.Errorf("%+v after %d reads, want the keys to be read once", f, reads.Load())
		}
	}
	set = gather(t, v, secretQuery("db", "k", "gone"))
	if f := set.Get(q.Object); f.Key("gone") != facts.Absent || f.Key("k") != facts.Present || reads.Load() != 2 {
		t.Errorf("%+v after %d reads, want an absent key to be confirmed", f, reads.Load())
	}
}

func TestMissesAreConfirmedEachTime(t *testing.T) {
	config, reads := silentAPI(t)
	v := startInventory(t, config, Options{})
	q := secretQuery("gone")
	for n := range int32(3) {
		set := gather(t, v, q)
		if f := set.Get(q.Object); f.State != facts.Absent || reads.Load() != n+1 {
			t.Errorf("%+v after %d reads", f, reads.Load())
		}
	}
}

func TestASilentWatchIsNoLongerBelieved(t *testing.T) {
	config, reads := silentAPI(t)
	v := startInventory(t, config, Options{StaleAfter: 50 * time.Millisecond})
	q := secretQuery("db")
	waitFor(t, func() bool {
		set := gather(t, v, q)
		if f := set.Get(q.Object); f.State != facts.Present {
			t.Fatalf("got %+v", f)
		}
		return reads.Load() > 0
	})
	if age := v.watched[reference.Secret].age(time.Now()); age < 50*time.Millisecond {
		t.Errorf("read though the watch was heard of %s ago", age)
	}
}

// slowAPI answers every read with "not found", some time later.
func slowAPI(t *testing.T, after time.Duration) *rest.Config {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(after):
		case <-r.Context().Done():
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"details":{"name":%q}}`, path.Base(r.URL.Path))
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}
}

func TestANamespaceThatFloodsLeavesTheOthersLookUpsAlone(t *testing.T) {
	v, err := New(slowAPI(t, 300*time.Millisecond), Options{}, metrics.New(), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	flooding, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	for i := range 200 {
		flood.Go(func() {
			for n := 0; flooding.Err() == nil; n++ {
				var bogus []facts.Query
				for k := range cluster.ParallelReads {
					bogus = append(bogus, facts.Query{Object: facts.Object{Kind: reference.Secret, Namespace: "flood", Name: fmt.Sprintf("bogus-%d-%d-%d", i, n, k)}})
				}
				v.Gather(flooding, time.Now(), func(*facts.Set) []facts.Query { return bogus })
			}
		})
	}
	waitFor(t, func() bool {
		v.reader.budget.mu.Lock()
		defer v.reader.budget.mu.Unlock()
		s := v.reader.budget.shares["flood"]
		return s != nil && len(s.waiters) > 100
	})
	for i := range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		q := facts.Query{Object: facts.Object{Kind: reference.Secret, Namespace: fmt.Sprintf("other-%d", i), Name: "gone"}}
		set := v.Gather(ctx, time.Now(), func(*facts.Set) []facts.Query { return []facts.Query{q} })
		cancel()
		if f := set.Get(q.Object); f.State != facts.Absent {
			t.Errorf("another namespace's look-up: %+v", f)
		}
	}
	stop()
	flood.Wait()
}
