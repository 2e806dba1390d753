package certificates

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// pollReadiness is how often the balancer asks replicas whether they are ready.
const pollReadiness = 50 * time.Millisecond

// serviceBalancer does for replicas what a Service does: new connections go in turn to
// those that are ready; a connection that is open lives on. It does not try
// another one where a connection fails, as kube-proxy doesn't.
type serviceBalancer struct {
	address string

	mu       sync.Mutex
	backends []*backend
	turn     int
	conns    map[net.Conn]bool
}

type backend struct {
	server *harness.Server
	ready  bool
	stop   context.CancelFunc
}

// newServiceBalancer listens on a port of 127.0.0.1; a serviceNetwork brings it
// the connections to a Service, too.
func newServiceBalancer(t *testing.T) *serviceBalancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &serviceBalancer{address: l.Addr().String(), conns: map[net.Conn]bool{}}
	go accept(l, b.carry)
	t.Cleanup(func() {
		_ = l.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, s := range b.backends {
			s.stop()
		}
		for c := range b.conns {
			_ = c.Close()
		}
	})
	return b
}

func accept(l net.Listener, handle func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go handle(conn)
	}
}

// add follows the readiness of a replica.
func (b *serviceBalancer) add(s *harness.Server) {
	ctx, stop := context.WithCancel(context.Background())
	added := &backend{server: s, stop: stop}
	b.mu.Lock()
	b.backends = append(b.backends, added)
	b.mu.Unlock()
	go func() {
		for ctx.Err() == nil {
			code, _ := s.Get(s.Health, "/readyz")
			b.mu.Lock()
			added.ready = code == http.StatusOK
			b.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(pollReadiness):
			}
		}
	}()
}

// remove forgets a replica.
func (b *serviceBalancer) remove(s *harness.Server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var rest []*backend
	for _, x := range b.backends {
		if x.server == s {
			x.stop()
		} else {
			rest = append(rest, x)
		}
	}
	b.backends = rest
}

// waitReady waits until so many replicas get connections.
func (b *serviceBalancer) waitReady(t *testing.T, n int) {
	t.Helper()
	err := cluster.Eventually(t.Context(), harness.Patience, func(context.Context) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		ready := 0
		for _, x := range b.backends {
			if x.ready {
				ready++
			}
		}
		if ready < n {
			return fmt.Errorf("%d replicas of %d are ready", ready, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (b *serviceBalancer) next() *harness.Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.backends {
		b.turn++
		if x := b.backends[b.turn%len(b.backends)]; x.ready {
			return x.server
		}
	}
	return nil
}

// halfCloser is a connection of which one direction can be closed.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// carry joins a connection to one of a replica, until both have ended.
func (b *serviceBalancer) carry(in net.Conn) {
	s := b.next()
	if s == nil {
		_ = in.Close()
		return
	}
	relay(in, s.Port, func(conns ...net.Conn) func() {
		b.keep(conns...)
		return func() { b.forget(conns...) }
	})
}

// relay carries a connection on to a port of this machine until both sides have
// said all. during is told of the two connections, and what it returns when they end.
func relay(in net.Conn, port int, during func(...net.Conn) func()) {
	out, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(port), time.Second)
	if err != nil {
		_ = in.Close()
		return
	}
	defer during(in, out)()
	var group sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		group.Go(func() {
			if _, err := io.Copy(way[1], way[0]); err != nil {
				_ = way[1].Close()
				return
			}
			_ = way[1].(halfCloser).CloseWrite()
		})
	}
	group.Wait()
	_ = in.Close()
	_ = out.Close()
}

func (b *serviceBalancer) keep(conns ...net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range conns {
		b.conns[c] = true
	}
}

func (b *serviceBalancer) forget(conns ...net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range conns {
		delete(b.conns, c)
	}
}
