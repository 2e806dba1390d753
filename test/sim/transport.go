package sim

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// transport is the network between one replica and the API servers: a balancer,
// connections, latency and faults. It implements http.RoundTripper.
type transport struct {
	world   *world
	replica string

	mu    sync.Mutex
	conns map[string]*conn // by what they are used for
	calls map[string]int   // by verb and object, for noise
	dials int
}

// conn is a connection to one server.
type conn struct {
	server  *server
	stopped <-chan struct{}
	chain   []*x509.Certificate // that the server presented
}

func newTransport(w *world, replica string) *transport {
	return &transport{world: w, replica: replica, conns: map[string]*conn{}, calls: map[string]int{}}
}

var errNoServer = errors.New("connection refused") //nolint:gochecknoglobals // an error

// connect returns a connection that is alive: the one that was used before, or
// one to a server that the balancer picks.
func (t *transport) connect(use string) (*conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.conns[use]; c != nil {
		select {
		case <-c.stopped:
		default:
			return c, nil
		}
	}
	t.dials++
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	var alive []*server
	for _, s := range t.world.servers {
		if s.up {
			alive = append(alive, s)
		}
	}
	if len(alive) == 0 {
		return nil, errNoServer
	}
	s := alive[noise(t.world.seed, "dial", t.replica, use, t.dials)%uint64(len(alive))]
	c := &conn{server: s, stopped: s.stopped, chain: s.ca.chain}
	t.conns[use] = c
	return c, nil
}

// number tells the calls for the same thing apart.
func (t *transport) number(what string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls[what]++
	return t.calls[what]
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		_ = r.Body.Close()
	}
	c := callOf(r, body)
	if c != nil {
		c.from = t.replica
	}
	use, what := "objects", r.URL.Path+"?"+r.URL.Query().Get("fieldSelector")+r.Header.Get("Accept")
	if c != nil && c.resource == discovery {
		use = discovery
	}
	n := noise(t.world.seed, t.replica, r.Method, what, t.number(r.Method+what))
	if err := pause(r.Context(), nil, latency(n)); err != nil {
		return nil, err
	}
	conn, err := t.connect(use)
	if err != nil {
		return nil, err
	}
	if r.Close {
		t.mu.Lock()
		delete(t.conns, use)
		t.mu.Unlock()
	}
	if c == nil {
		return conn.response(r, nil, plainNotFound()), nil
	}
	t.world.count(t.replica, c)
	fault := t.world.faultOf(t.replica, conn.server, c, n/7919)
	c.silent = func() bool { return t.world.silentFor(t.replica, conn.server, c) }
	a, err := t.failed(r.Context(), conn, fault, n)
	if err != nil {
		return nil, err
	}
	if a == nil {
		served := conn.server.serve(c)
		a = &served
	}
	if a.status != nil {
		a.body = c.statusBody(a.status)
	}
	if a.stream != nil {
		return conn.streamed(r, c, a), nil
	}
	// The answer is on its way: what changes now it does not tell.
	if err := pause(r.Context(), conn.stopped, latency(n/104729)); err != nil {
		return nil, err
	}
	if fault == failGarbage && len(a.body) > 1 {
		a.body = a.body[:len(a.body)/2]
	}
	return conn.response(r, c, *a), nil
}

// latency is most often a few milliseconds, and never the same.
func latency(n uint64) time.Duration {
	d := 200*time.Microsecond + time.Duration(n%3_000_000)
	if n%64 == 0 {
		d += time.Duration(n % 400_000_000)
	}
	return d
}

var errReset = errors.New("connection reset by peer") //nolint:gochecknoglobals // an error

// pause waits, unless the request or the connection ends first.
func pause(ctx context.Context, stopped <-chan struct{}, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-stopped:
		return errReset
	case <-timer.C:
		return nil
	}
}

// failed does what a fault does to a request: an answer, an error, or just time.
func (t *transport) failed(ctx context.Context, conn *conn, fault faultKind, n uint64) (*answer, error) {
	var a answer
	switch fault {
	case failError:
		a = status(http.StatusInternalServerError, "InternalError", "etcdserver: request timed out", nil)
	case failThrottle:
		a = status(http.StatusTooManyRequests, "TooManyRequests", "too many requests", nil)
		if n%3 == 0 {
			a.header = map[string]string{"Retry-After": "1"}
		}
	case failDenied:
		a = status(http.StatusUnauthorized, "Unauthorized", "Unauthorized", nil)
	case failProxy:
		a = plainNotFound()
	case failReset:
		return nil, errReset
	case failHang:
		return nil, t.hang(ctx, conn)
	case failSlow:
		return nil, pause(ctx, conn.stopped, 100*time.Millisecond+time.Duration(n%3_000_000_000))
	default:
		return nil, nil
	}
	return &a, nil
}

// hang never answers. A client without patience of its own is told so once the
// connection's keep-alives have failed.
func (t *transport) hang(ctx context.Context, conn *conn) error {
	if err := pause(ctx, conn.stopped, 30*time.Second); err != nil {
		return err
	}
	return errReset
}

func (c *conn) response(r *http.Request, from *call, a answer) *http.Response {
	out := &http.Response{
		StatusCode: a.code, Status: fmt.Sprintf("%d %s", a.code, http.StatusText(a.code)), Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: http.Header{}, Request: r,
		Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)), TLS: &tls.ConnectionState{PeerCertificates: c.chain},
	}
	if from != nil {
		out.Header.Set("Content-Type", from.contentType())
	}
	for k, v := range a.header {
		out.Header.Set(k, v)
	}
	return out
}

// streamed is a response whose body comes as it is made.
func (c *conn) streamed(r *http.Request, by *call, a *answer) *http.Response {
	out := c.response(r, by, answer{code: a.code})
	from, to := io.Pipe()
	out.Body, out.ContentLength = from, -1
	stop := context.AfterFunc(r.Context(), func() { _ = to.CloseWithError(r.Context().Err()) })
	go func() {
		defer stop()
		a.stream(func(text []byte) error {
			_, err := to.Write(text)
			return err
		})
		_ = to.Close()
	}()
	return out
}
