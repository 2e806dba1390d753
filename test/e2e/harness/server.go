package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/servingcert"
	"tokenward.dev/tokenward/test/cluster"
)

const patience = 20 * time.Second

// server is the webhook as a process.
type server struct {
	port, health, metrics int
	ca                    []byte
	certDir               string
	log                   lockedBuffer
	command               *exec.Cmd
	exited                chan error
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

// handedOut are the ports that tests have: none is given to two.
var handedOut sync.Map

// freePort returns a port below those that the kernel takes for outgoing
// connections, so that nobody takes it before the server that it is for.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1_000 {
		port := 15_000 + rand.IntN(15_000)
		if _, taken := handedOut.LoadOrStore(port, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// writeCertificate puts a new CA's certificate for 127.0.0.1 into a directory.
func writeCertificate(t *testing.T, dir string) (ca []byte) {
	t.Helper()
	authority, err := servingcert.NewSelfSigned([]string{"127.0.0.1", "localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	crt, key := pemPair(t, cert)
	// The key first: the watcher keeps the old pair until the two fit.
	writeFile(t, filepath.Join(dir, "tls.key"), key)
	writeFile(t, filepath.Join(dir, "tls.crt"), crt)
	return authority.CA()
}

// startWebhook runs the webhook against the control plane, with more flags, and
// waits until it is ready.
func startWebhook(t *testing.T, flags ...string) *server {
	t.Helper()
	s := launch(t, append([]string{"--kubeconfig=" + standard.kubeconfig}, flags...)...)
	s.waitReady(t)
	return s
}

// launch starts the process and does not wait.
func launch(t *testing.T, flags ...string) *server {
	t.Helper()
	return launchBinary(t, binary, flags...)
}

func launchBinary(t *testing.T, path string, flags ...string) *server {
	t.Helper()
	s := &server{
		port: freePort(t), health: freePort(t), metrics: freePort(t), certDir: t.TempDir(), exited: make(chan error, 1),
	}
	s.ca = writeCertificate(t, s.certDir)
	s.command = exec.Command(path, append([]string{
		"--webhook-host=127.0.0.1", "--webhook-port=" + strconv.Itoa(s.port), "--cert-dir=" + s.certDir,
		"--health-addr=127.0.0.1:" + strconv.Itoa(s.health), "--metrics-addr=127.0.0.1:" + strconv.Itoa(s.metrics),
		"--shutdown-delay=0s", "--log-level=debug", "--audit-interval=0",
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
			t.Logf("end of the log of the webhook:\n%s", strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	})
	return s
}

func (s *server) waitReady(t *testing.T) {
	t.Helper()
	err := cluster.Eventually(t.Context(), patience, func(context.Context) error {
		code, body := s.get(s.health, "/readyz")
		if code != http.StatusOK {
			return fmt.Errorf("/readyz: %d %s", code, body)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log.String())
	}
}

func (s *server) get(port int, path string) (int, string) {
	response, err := http.Get("http://127.0.0.1:" + strconv.Itoa(port) + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// metric returns the sum of the series of a name whose labels contain all parts.
func (s *server) metric(t *testing.T, name string, parts ...string) float64 {
	t.Helper()
	_, body := s.get(s.metrics, "/metrics")
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

// register sends the API server's reviews about some namespaces to this process.
func (s *server) register(t *testing.T, namespaces ...string) {
	t.Helper()
	registerAt(t, "https://127.0.0.1:"+strconv.Itoa(s.port), s.ca, metav1.LabelSelectorRequirement{
		Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: namespaces,
	})
	s.waitRegistered(t, namespaces)
}

func loadConfiguration(t *testing.T) *admissionregistrationv1.ValidatingWebhookConfiguration {
	t.Helper()
	config, err := standard.validating()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// stop ends the process as Kubernetes does and returns its exit error.
func (s *server) stop(t *testing.T) error {
	t.Helper()
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-s.exited:
		return err
	case <-time.After(patience):
		t.Fatal("the webhook did not stop")
		return nil
	}
}

func pemPair(t *testing.T, cert *tls.Certificate) (crt, key []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pemCertificate(cert.Certificate[0]), pemKey(der)
}

func pemKey(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func pemCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
