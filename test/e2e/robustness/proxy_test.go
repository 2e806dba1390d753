package robustness

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// proxy stands between the webhook and the API server, and can break.
type proxy struct {
	kubeconfig string

	mu         sync.Mutex
	fault      string        // "", cut, slow, 429, 403, 500
	watchDelay time.Duration // how late watch events arrive
	reads      int           // reads of single objects that were passed on or broken
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	target, err := url.Parse(env.Plane.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(env.Standard.Config)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		ModifyResponse: func(r *http.Response) error {
			if delay := p.delay(); delay > 0 && isWatch(r.Request) {
				r.Body = newLateBody(r.Body, delay)
			}
			return nil
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.broken(w, r) {
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	harness.WriteFile(t, p.kubeconfig, []byte(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}],
clusters: [{name: c, cluster: {server: "`+server.URL+`"}}]}`))
	return p
}

func isWatch(r *http.Request) bool { return r.URL.Query().Get("watch") != "" }

func (p *proxy) set(fault string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

func (p *proxy) delay() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.watchDelay
}

func (p *proxy) readCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reads
}

// broken answers in place of the API server if there is a fault. Watches that
// are open stay open: only new requests meet the fault.
func (p *proxy) broken(w http.ResponseWriter, r *http.Request) bool {
	p.mu.Lock()
	fault := p.fault
	if !isWatch(r) {
		p.reads++
	}
	p.mu.Unlock()
	switch fault {
	case "cut":
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = conn.Close()
		}
	case "slow":
		select {
		case <-r.Context().Done():
		case <-time.After(20 * time.Second):
		}
	case "429":
		w.Header().Set("Retry-After", "1")
		http.Error(w, "slow down", http.StatusTooManyRequests)
	case "403":
		http.Error(w, "no", http.StatusForbidden)
	case "500":
		http.Error(w, "boom", http.StatusInternalServerError)
	default:
		return false
	}
	return true
}

// lateBody hands on what it reads some time later, in order.
type lateBody struct {
	io.ReadCloser
	chunks chan lateChunk
	rest   []byte
	done   chan struct{}
	once   sync.Once
}

type lateChunk struct {
	data []byte
	at   time.Time
}

func newLateBody(body io.ReadCloser, delay time.Duration) *lateBody {
	l := &lateBody{ReadCloser: body, chunks: make(chan lateChunk, 100_000), done: make(chan struct{})}
	go func() {
		defer close(l.chunks)
		for {
			buffer := make([]byte, 32<<10)
			n, err := body.Read(buffer)
			if n > 0 {
				select {
				case l.chunks <- lateChunk{buffer[:n], time.Now().Add(delay)}:
				case <-l.done:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return l
}

func (l *lateBody) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		chunk, ok := <-l.chunks
		if !ok {
			return 0, io.EOF
		}
		select {
		case <-time.After(time.Until(chunk.at)):
		case <-l.done:
			return 0, errors.New("closed")
		}
		l.rest = chunk.data
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func (l *lateBody) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.ReadCloser.Close()
}
