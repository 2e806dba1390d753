package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tokenward.dev/tokenward/pkg/servingcert"
)

// process is a server under measurement.
type process struct {
	name          string
	path          string // what is asked
	port, metrics int
	ca            []byte
	command       *exec.Cmd
	dir           string
}

// What the webhook is asked at.
const (
	validatePath = "/validate/pods"
	mutatePath   = "/mutate/pods"
)

// start runs a server: "bare" and "runtime" are this program, "tokenward" is
// the webhook with a kubeconfig and the policies of a file, or, if there are
// none, those of the API server. More arguments are for the webhook.
func (b *bench) start(ctx context.Context, name, kubeconfig, policies string, more ...string) (*process, error) {
	dir, err := os.MkdirTemp("", "tokenward-bench-")
	if err != nil {
		return nil, err
	}
	p := &process{name: name, path: validatePath, port: freePort(), metrics: freePort(), dir: dir}
	if err := p.writeCertificate(); err != nil {
		return nil, err
	}
	if name == "tokenward" {
		args := []string{"--kubeconfig=" + kubeconfig, "--cert-dir=" + dir,
			"--webhook-host=127.0.0.1", "--webhook-port=" + strconv.Itoa(p.port), "--health-addr=0",
			"--metrics-addr=127.0.0.1:" + strconv.Itoa(p.metrics), "--log-level=error", "--shutdown-delay=0s", "--audit-interval=0"}
		if policies != "" {
			file := filepath.Join(dir, "policies.yaml")
			if err := os.WriteFile(file, []byte(policies), 0o600); err != nil {
				return nil, err
			}
			args = append(args, "--policy-file="+file)
		}
		p.command = exec.CommandContext(ctx, b.webhook, append(args, more...)...)
	} else {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		p.command = exec.CommandContext(ctx, self, "serve", name, "--port="+strconv.Itoa(p.port), "--metrics="+strconv.Itoa(p.metrics), "--cert-dir="+dir)
	}
	p.command.Stderr = os.Stderr
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	if err := p.waitReady(ctx); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// waitReady waits until the server answers reviews.
func (p *process) waitReady(ctx context.Context) error {
	client := p.client(false)
	defer client.CloseIdleConnections()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if code, _, err := post(ctx, client, p.url(), allowBody()); err == nil && code == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("%s did not become ready", p.name)
}

func (p *process) stop() error {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
	return os.RemoveAll(p.dir)
}

func (p *process) url() string {
	return "https://127.0.0.1:" + strconv.Itoa(p.port) + p.path + "?timeout=5s"
}

func (p *process) client(http2 bool) *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.ca)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 64, ForceAttemptHTTP2: http2,
	}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func post(ctx context.Context, client *http.Client, url string, body []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, text, errors.Join(err, response.Body.Close())
}

// cpu is the time that the process has used, user and system.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	ticks := 0
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// resident is the memory of the process in bytes.
func (p *process) resident() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return n * 1024, err
		}
	}
	return 0, errors.New("no VmRSS")
}

// metric reads one series, by its name and labels as they are written there.
func (p *process) metric(name string) (float64, error) {
	response, err := http.Get("http://127.0.0.1:" + strconv.Itoa(p.metrics) + "/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, fmt.Errorf("%s: no metric %s", p.name, name)
}

func (p *process) writeCertificate() error {
	own, err := servingcert.NewSelfSigned([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		return err
	}
	p.ca = own.CA()
	cert, err := own.GetCertificate(nil)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(p.dir, "tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600),
		os.WriteFile(filepath.Join(p.dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600),
	)
}

func freePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
