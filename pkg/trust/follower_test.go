package trust

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/metrics"
)

// Where no keys are published, for ever, that is no reason to ask all the time.
func TestRefreshesBackOff(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	s, err := New(&rest.Config{Host: server.URL, QPS: -1}, Options{Refresh: 20 * time.Millisecond}, metrics.New(), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.Run(ctx) }()
	started := time.Now()
	waitFor(t, func() bool { return asked.Load() >= 80 })
	// More than the doublings that an int64 holds; each waits for its time.
	if took := time.Since(started); took < 79*20*time.Millisecond {
		t.Errorf("80 refreshes in %s", took)
	}
	stop()
	<-stopped
	if !s.Tried() || s.Settled() {
		t.Error("failures count as agreement")
	}
}

// A token with an unknown key id brings the next refresh forward.
func TestAnUnknownKeyBringsARefresh(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == keysPath {
			asked.Add(1)
			_, _ = w.Write([]byte(`{"keys":[{"kty":"EC","kid":"a","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`))
			return
		}
		_, _ = w.Write([]byte(`{"issuer":"https://issuer.test"}`))
	}))
	t.Cleanup(server.Close)
	s, err := New(&rest.Config{Host: server.URL, QPS: -1}, Options{Refresh: time.Hour}, metrics.New(), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.Run(ctx) }()
	waitFor(t, func() bool { return asked.Load() == 1 && s.tried.Load() })
	if trust := s.Trust(); !trust.keys.Knows("a") || s.Settled() {
		t.Errorf("after one look: %+v", trust)
	}
	for range 100 {
		s.Kick()
	}
	waitFor(t, func() bool { return asked.Load() >= 2 })
	if n := asked.Load(); n > 3 {
		t.Errorf("%d refreshes for a hundred tokens", n)
	}
	stop()
	<-stopped
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 30s")
		}
		time.Sleep(time.Millisecond)
	}
}
