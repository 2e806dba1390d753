package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tokenward.dev/tokenward/test/cluster"
)

// replica starts a webhook that makes its own certificate, as in a cluster.
func replica(t *testing.T, kubeconfig string, flags ...string) *server {
	t.Helper()
	s := &server{port: freePort(t), health: freePort(t), metrics: freePort(t), exited: make(chan error, 1)}
	s.command = exec.Command(binary, append([]string{
		"--kubeconfig=" + kubeconfig, "--self-signed", "--webhook-host=127.0.0.1", "--webhook-port=" + strconv.Itoa(s.port),
		"--health-addr=127.0.0.1:" + strconv.Itoa(s.health), "--metrics-addr=127.0.0.1:" + strconv.Itoa(s.metrics),
		"--shutdown-delay=1s",
	}, flags...)...)
	s.command.Stdout, s.command.Stderr = &s.log, &s.log
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.exited <- s.command.Wait() }()
	t.Cleanup(func() {
		_ = s.command.Process.Kill()
		if t.Failed() {
			lines := strings.Split(s.log.String(), "\n")
			t.Logf("end of the log of the replica at %d:\n%s", s.port, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	})
	return s
}

// pollReadiness is how often the balancer asks replicas whether they are ready.
const pollReadiness = 50 * time.Millisecond

// serviceBalancer does for replicas what a Service does: new connections go in turn to
// those that are ready; a connection that is open lives on. It does not try
// another one where a connection fails, as kube-proxy doesn't.
type serviceBalancer struct {
	address string // of TCP, 127.0.0.1
	socket  string // of a Unix socket, for CONNECT

	mu       sync.Mutex
	backends []*backend
	turn     int
	conns    map[net.Conn]bool
}

type backend struct {
	server *server
	ready  bool
	stop   context.CancelFunc
}

// newServiceBalancer listens on a port, and as a proxy on a Unix socket, by which the
// API server reaches the address of a Service: see serviceNetwork.
func newServiceBalancer(t *testing.T, socket string) *serviceBalancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	b := &serviceBalancer{address: l.Addr().String(), socket: socket, conns: map[net.Conn]bool{}}
	go b.accept(l, func(net.Conn) error { return nil })
	go b.accept(u, acceptConnect)
	t.Cleanup(func() {
		_ = l.Close()
		_ = u.Close()
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

// add follows the readiness of a replica.
func (b *serviceBalancer) add(s *server) {
	ctx, stop := context.WithCancel(context.Background())
	added := &backend{server: s, stop: stop}
	b.mu.Lock()
	b.backends = append(b.backends, added)
	b.mu.Unlock()
	go func() {
		for ctx.Err() == nil {
			code, _ := s.get(s.health, "/readyz")
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
func (b *serviceBalancer) remove(s *server) {
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
	err := cluster.Eventually(t.Context(), patience, func(context.Context) error {
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

func (b *serviceBalancer) next() *server {
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

func (b *serviceBalancer) accept(l net.Listener, greet func(net.Conn) error) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go b.carry(conn, greet)
	}
}

// acceptConnect reads an HTTP CONNECT, whatever its target, and agrees.
func acceptConnect(conn net.Conn) error {
	var head []byte
	one := make([]byte, 1) // not a byte more: what follows is TLS
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if _, err := io.ReadFull(conn, one); err != nil {
			return err
		}
		head = append(head, one[0])
	}
	_, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	return err
}

// serviceNetwork writes the configuration by which the API server reaches
// Services through a proxy on a Unix socket.
func serviceNetwork(t *testing.T, socket string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "egress.yaml")
	writeFile(t, path, []byte(`apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- {name: cluster, connection: {proxyProtocol: HTTPConnect, transport: {uds: {udsName: "`+socket+`"}}}}
`))
	return path
}

// halfCloser is a connection of which one direction can be closed.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// carry joins a connection to one of a replica, until both have ended.
func (b *serviceBalancer) carry(in net.Conn, greet func(net.Conn) error) {
	s := b.next()
	if s == nil {
		_ = in.Close()
		return
	}
	out, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(s.port), time.Second)
	if err != nil {
		_ = in.Close()
		return
	}
	b.keep(in, out)
	if err := greet(in); err != nil {
		_ = out.Close()
	}
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
	b.forget(in, out)
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
