package inventory

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/owntoken"
)

// guarded is the silent API server, which now asks for a token.
type guarded struct {
	t        *testing.T
	config   *rest.Config
	own      *owntoken.Token
	file     string
	accepted atomic.Value
	server   *httptest.Server
}

func newGuarded(t *testing.T, accepted string) *guarded {
	t.Helper()
	behind, _ := silentAPI(t)
	target, err := url.Parse(behind.Host)
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{t: t, file: filepath.Join(t.TempDir(), "token")}
	g.accepted.Store(accepted)
	g.renew("first")
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+g.accepted.Load().(string) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`))
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { g.server.CloseClientConnections(); g.server.Close() })
	g.config = &rest.Config{Host: g.server.URL, BearerTokenFile: g.file}
	if g.own, err = owntoken.Use(g.config, func(bool) {}, logr.Discard()); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *guarded) renew(token string) {
	g.t.Helper()
	if err := os.WriteFile(g.file, []byte(token), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// restart accepts another token from now on, and ends all watches.
func (g *guarded) restart(accepted string) {
	g.accepted.Store(accepted)
	g.server.CloseClientConnections()
}

func TestWhatTheIndexHasStaysKnownWhileTheOwnTokenIsDead(t *testing.T) {
	g := newGuarded(t, "first")
	v := startInventory(t, g.config, Options{StaleAfter: 50 * time.Millisecond})
	present, missing := secretQuery("db", "k"), secretQuery("gone")
	other := secretQuery("db", "k", "other")
	namespace := facts.Query{Object: facts.Object{Kind: facts.Namespace, Name: "shop"}}
	gather(t, v, present)
	g.restart("second")
	waitFor(t, func() bool { _, rejected := g.own.Rejected(); return rejected })
	waitFor(t, func() bool { return v.watched[present.Kind].age(time.Now()) > 50*time.Millisecond })

	set := gather(t, v, present, missing, namespace)
	if f := set.Get(present.Object); f.State != facts.Present || f.Key("k") != facts.Present {
		t.Errorf("what the index has: %+v", f)
	}
	if f := set.Get(missing.Object); f.State != facts.Unknown || f.Why != facts.Unauthorized {
		t.Errorf("what the index lacks: %+v", f)
	}
	if f := set.Get(namespace.Object); f.State != facts.Present || f.Labels["team"] != "payments" {
		t.Errorf("the Namespace: %+v", f)
	}
	set = gather(t, v, other)
	if f := set.Get(other.Object); f.State != facts.Present || f.Key("other") != facts.Unknown {
		t.Errorf("a key that it did not have: %+v", f)
	}

	g.renew("second")
	set = gather(t, v, missing, present)
	if f := set.Get(missing.Object); f.State != facts.Absent {
		t.Errorf("with the new token: %+v", f)
	}
	if f := set.Get(present.Object); !f.Known() || f.Key("k") != facts.Present {
		t.Errorf("with the new token: %+v", f)
	}
}

func TestAReplicaThatStartsWithADeadTokenIsReadySoonAfterTheNewOne(t *testing.T) {
	g := newGuarded(t, "second")
	v, err := New(g.config, Options{}, metrics.New(), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = v.Start(ctx) }()
	t.Cleanup(func() { stop(); <-stopped })
	// By then who backs off waits for longer than it may take.
	for dead := time.Now().Add(4 * time.Second); time.Now().Before(dead); time.Sleep(10 * time.Millisecond) {
		if v.Synced() {
			t.Fatal("synced without a token")
		}
	}
	if _, rejected := g.own.Rejected(); !rejected {
		t.Error("the token is not said to be rejected")
	}
	g.renew("second")
	renewed := time.Now()
	waitFor(t, v.Synced)
	if took := time.Since(renewed); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	if _, rejected := g.own.Rejected(); rejected {
		t.Error("the new token is said to be rejected")
	}
}
