package harness

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tokenward.dev/tokenward/test/cluster"
)

// Server is the webhook as a process.
type Server struct {
	Port, Health, Metrics int
	// CA signed the certificate in CertDir; a replica has neither.
	CA      []byte
	CertDir string
	Log     lockedBuffer
	Command *exec.Cmd
	Exited  chan error
}

func newServer(t *testing.T) *Server {
	t.Helper()
	return &Server{Port: freePort(t), Health: freePort(t), Metrics: freePort(t), Exited: make(chan error, 1)}
}

// addresses are the flags for the ports of the server.
func (s *Server) addresses() []string {
	return []string{
		"--webhook-host=127.0.0.1", "--webhook-port=" + strconv.Itoa(s.Port),
		"--health-addr=127.0.0.1:" + strconv.Itoa(s.Health), "--metrics-addr=127.0.0.1:" + strconv.Itoa(s.Metrics),
	}
}

// launch starts the process. It does not outlive the test.
func (s *Server) launch(t *testing.T, path string, flags ...[]string) {
	t.Helper()
	s.Command = exec.Command(path, slices.Concat(flags...)...)
	s.Command.Stdout, s.Command.Stderr = &s.Log, &s.Log
	s.Command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.Command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.Exited <- s.Command.Wait() }()
	t.Cleanup(func() {
		_ = s.Command.Process.Kill()
		if t.Failed() {
			lines := strings.Split(s.Log.String(), "\n")
			t.Logf("end of the log of the webhook at %d:\n%s", s.Port, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	})
}

// lockedBuffer takes the log while tests read it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// LaunchReplica starts a webhook that makes its own certificate, as in a cluster.
func LaunchReplica(t *testing.T, kubeconfig string, flags ...string) *Server {
	t.Helper()
	s := newServer(t)
	// A release has flags for its addresses. Of a flag that is given twice the last counts.
	s.launch(t, program(t, "webhook"), flags, s.addresses(), []string{"--kubeconfig=" + kubeconfig, "--self-signed", "--shutdown-delay=1s"})
	return s
}

// LaunchProgram starts the webhook, or a program like it, with a certificate of
// the test's. It does not wait.
func LaunchProgram(t *testing.T, path string, flags ...string) *Server {
	t.Helper()
	s := newServer(t)
	s.CertDir = t.TempDir()
	s.CA = WriteCertificate(t, s.CertDir)
	s.launch(t, path, s.addresses(), []string{"--cert-dir=" + s.CertDir, "--shutdown-delay=0s", "--log-level=debug", "--audit-interval=0"}, flags)
	return s
}

// Launch starts the webhook, with a certificate of the test's, and does not wait.
func Launch(t *testing.T, flags ...string) *Server {
	t.Helper()
	return LaunchProgram(t, program(t, "webhook"), flags...)
}

// StartWebhook runs the webhook against the control plane, with more flags, and
// waits until it is ready.
func (e *Env) StartWebhook(t *testing.T, flags ...string) *Server {
	t.Helper()
	s := Launch(t, append([]string{"--kubeconfig=" + e.Standard.Kubeconfig}, flags...)...)
	s.WaitReady(t)
	return s
}

// WaitReady waits until the process says that it is ready.
func (s *Server) WaitReady(t *testing.T) {
	t.Helper()
	err := cluster.Eventually(t.Context(), Patience, func(context.Context) error {
		code, body := s.Get(s.Health, "/readyz")
		if code != http.StatusOK {
			return fmt.Errorf("/readyz: %d %s", code, body)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, s.Log.String())
	}
}

// Get returns status and body, or 0 and what failed, for a path at one of the ports.
func (s *Server) Get(port int, path string) (int, string) {
	response, err := http.Get("http://127.0.0.1:" + strconv.Itoa(port) + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// Metric returns the sum of the series of a name whose labels contain all parts.
func (s *Server) Metric(t *testing.T, name string, parts ...string) float64 {
	t.Helper()
	_, body := s.Get(s.Metrics, "/metrics")
	sum := 0.0
next:
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || (rest[0] != '{' && rest[0] != ' ') {
			continue
		}
		for _, p := range parts {
			if !strings.Contains(rest, p) {
				continue next
			}
		}
		fields := strings.Fields(line)
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		sum += v
	}
	return sum
}

// Scrape asks for metrics over TLS, with an Authorization header.
func (s *Server) Scrape(t *testing.T, authorization string) (int, string) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CA)
	https := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: Patience}
	defer https.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1:"+strconv.Itoa(s.Metrics)+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := https.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// WaitLog waits until the log has a part.
func (s *Server) WaitLog(t *testing.T, part string) {
	t.Helper()
	WaitUntil(t, func() error {
		if !strings.Contains(s.Log.String(), part) {
			return fmt.Errorf("the log does not say %q", part)
		}
		return nil
	})
}

// Stop ends the process as Kubernetes does and returns its exit error.
func (s *Server) Stop(t *testing.T) error {
	t.Helper()
	if err := s.Command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-s.Exited:
		return err
	case <-time.After(Patience):
		t.Fatal("the webhook did not stop")
		return nil
	}
}
