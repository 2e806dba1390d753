package process

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

func TestShutdownBecomesUnreadyServesOnAndExitsCleanly(t *testing.T) {
	s := env.StartWebhook(t, "--shutdown-delay=1s")
	ns := env.NewNamespace(t)
	env.Register(t, s, ns)
	if err := s.Command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := cluster.Eventually(t.Context(), harness.Patience, func(context.Context) error {
		if code, body := s.Get(s.Health, "/readyz"); code != http.StatusServiceUnavailable {
			return fmt.Errorf("/readyz: %d %s", code, body)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := env.CreatePod(t, ns, harness.Pod("late")); err != nil {
		t.Errorf("unready, but still serving: %v", err)
	}
	if err := <-s.Exited; err != nil {
		t.Errorf("exit status: %v", err)
	}
}

func TestUnsyncedAnswers503(t *testing.T) {
	// An API server that accepts connections and never answers.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	harness.WriteFile(t, kubeconfig, []byte(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}],
clusters: [{name: c, cluster: {server: "http://`+silent.Addr().String()+`"}}]}`))
	s := harness.Launch(t, "--kubeconfig="+kubeconfig)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CA)
	https := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer https.CloseIdleConnections()
	err = cluster.Eventually(t.Context(), harness.Patience, func(context.Context) error {
		response, err := https.Post("https://127.0.0.1:"+strconv.Itoa(s.Port)+"/validate/pods", "application/json", strings.NewReader("{}"))
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusServiceUnavailable {
			return fmt.Errorf("got %s, want 503", response.Status)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if code, body := s.Get(s.Health, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "index") {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code, _ := s.Get(s.Health, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
	if err := s.Stop(t); err != nil {
		t.Errorf("exit status: %v", err)
	}
}

func TestCertificateIsReloaded(t *testing.T) {
	s := env.StartWebhook(t)
	harness.WriteCertificate(t, s.CertDir)
	crt, err := os.ReadFile(filepath.Join(s.CertDir, "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	err = cluster.Eventually(t.Context(), harness.Patience, func(ctx context.Context) error {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(s.Port))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		served := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
		if got := pemOf(served); got != string(crt) {
			return fmt.Errorf("still the old certificate, of %s", served.NotBefore)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if until := s.Metric(t, "tokenward_serving_certificate_not_after_seconds"); until < float64(time.Now().Unix()) {
		t.Errorf("tokenward_serving_certificate_not_after_seconds: %v", until)
	}
}

func TestPolicyFileIsReloadedAndABadOneIsNotTaken(t *testing.T) {
	path := harness.PolicyFile(t, harness.SecretExistsPolicy("Deny", ""))
	s := env.StartWebhook(t, "--policy-file="+path)
	ns := env.NewNamespace(t)
	env.Register(t, s, ns)
	refused := func() bool {
		_, err := env.CreatePod(t, ns, harness.Pod("p-"+strconv.FormatInt(time.Now().UnixNano(), 36), harness.SecretVolume("gone", false)))
		return err != nil
	}
	if !refused() {
		t.Fatal("Deny: the pod was created")
	}
	harness.WriteFile(t, path, []byte("kind: nonsense\n"))
	s.WaitLog(t, "the last good version stays in force")
	if !refused() {
		t.Error("after a bad reload the good version is not in force")
	}
	harness.WriteFile(t, path, []byte(harness.SecretExistsPolicy("Audit", "")))
	s.WaitLog(t, "Policies reloaded")
	if refused() {
		t.Error("Audit: the pod was refused")
	}
}

func TestBadFlagsFailAtStart(t *testing.T) {
	tests := []struct {
		name  string
		flags []string
		want  string
	}{
		{"a policy file that is not there", []string{"--policy-file=/nonexistent"}, "--policy-file:"},
		{"a port out of range", []string{"--webhook-port=70000"}, "--webhook-port: 70000 is not between 1 and 65535"},
		{"a log level that there is not", []string{"--log-level=loud"}, `--log-level: "loud" is none of debug, info, error`},
		{"two sources of facts", []string{"--cluster-state=/tmp"}, "--cluster-state: takes the place of --kubeconfig"},
		{"a client's name without an authority", []string{"--client-name=apiserver"}, "--client-name: is checked in certificates, and none is asked for: give --client-ca, too"},
		{"an authority that is not there", []string{"--client-ca=/nonexistent"}, "--client-ca: open /nonexistent:"},
		{"metrics to secure, and none", []string{"--metrics-secure", "--metrics-addr=0"}, "--metrics-secure: there is nothing to secure: --metrics-addr is 0"},
		{"metrics to secure, and no API server to ask", []string{"--metrics-secure", "--kubeconfig=", "--cluster-state=/tmp"}, "--metrics-secure: asks the API server who may read, and with --cluster-state there is none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := harness.Launch(t, append([]string{"--kubeconfig=" + env.Plane.Kubeconfig}, tt.flags...)...)
			if err := <-s.Exited; err == nil {
				t.Error("want a failure")
			}
			harness.MustContain(t, s.Log.String(), "error: ", tt.want)
		})
	}
}

func pemOf(cert *x509.Certificate) string {
	return string(harness.PEMCertificate(cert.Raw))
}
