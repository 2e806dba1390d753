package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
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

	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// memoryLimit is what the chart gives the container.
const memoryLimit = 256 << 20

// patience is for what takes a moment on a machine that has nothing else to do.
const patience = 60 * time.Second

// program builds the webhook, once.
var program = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(cluster.Root(), "bin", "hostile")
	return filepath.Join(dir, "webhook"), harness.Build(dir+string(filepath.Separator), "./cmd/webhook")
})

// target is the webhook under attack.
type target struct {
	t       *testing.T
	api     *api
	addr    string
	metrics string
	tls     *tls.Config
	client  *http.Client // for reviews: each over HTTP/2
	command *exec.Cmd
	exited  chan error
	log     *tail
}

// tail keeps the end of a log.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if len(l.text) > 64<<10 { // how it began, and how it ends
		l.text = append(l.text[:16<<10:16<<10], l.text[len(l.text)-16<<10:]...)
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	addr, _ := l.Addr().(*net.TCPAddr)
	return addr.Port
}

// memoryCgroup makes a cgroup with the container's limit. It returns "" where that
// can't be had: then the limit is watched instead.
func memoryCgroup(t *testing.T) string {
	t.Helper()
	for root, limit := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		dir := filepath.Join(root, fmt.Sprintf("tokenward-hostile-%d", os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		if os.WriteFile(filepath.Join(dir, limit), []byte(strconv.Itoa(memoryLimit)), 0o644) != nil {
			_ = os.Remove(dir)
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		return dir
	}
	return ""
}

// command runs the webhook in a cgroup, if there is one, as the chart runs it.
func command(t *testing.T, cgroup string, args ...string) (*exec.Cmd, *tail) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, args...)
	if cgroup != "" {
		c = exec.Command("/bin/sh", append([]string{"-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, cgroup, path}, args...)...)
	}
	log := &tail{}
	c.Stdout, c.Stderr = log, log
	c.Env = append(os.Environ(), "GOMEMLIMIT="+strconv.Itoa(memoryLimit), "GOTRACEBACK=single")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c, log
}

// start runs the webhook against an API server, with policies, and waits until it
// answers.
func start(t *testing.T, a *api, policies string, flags ...string) *target {
	t.Helper()
	dir := t.TempDir()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(harness.WriteCertificate(t, dir))
	file := filepath.Join(dir, "policies.yaml")
	if err := os.WriteFile(file, []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	port, metrics := freePort(t), freePort(t)
	x := &target{
		t: t, api: a, addr: "127.0.0.1:" + strconv.Itoa(port), metrics: "http://127.0.0.1:" + strconv.Itoa(metrics) + "/metrics",
		tls: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, exited: make(chan error, 1),
	}
	x.client = x.clientOf("127.0.0.3")
	cgroup := memoryCgroup(t)
	if cgroup == "" {
		t.Log("there are no cgroups: memory is watched by VmHWM alone")
	}
	x.command, x.log = command(t, cgroup, append([]string{
		"--kubeconfig=" + a.kubeconfig, "--cert-dir=" + dir, "--policy-file=" + file, "--webhook-host=127.0.0.1", "--webhook-port=" + strconv.Itoa(port),
		"--health-addr=0", "--metrics-addr=127.0.0.1:" + strconv.Itoa(metrics), "--shutdown-delay=0s", "--audit-interval=0", "--signing-key-refresh=1s",
	}, flags...)...)
	if err := x.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { x.exited <- x.command.Wait() }()
	t.Cleanup(func() {
		_ = x.command.Process.Kill()
		if err := <-x.exited; t.Failed() {
			t.Logf("it ended with %v; end of the log:\n%s", err, x.log)
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if v, err := x.post(validatePods, review{namespace: benignNamespace, pod: plainPod}.body()); err == nil && v.status == http.StatusOK {
			return x
		} else if time.Now().After(deadline) {
			t.Fatalf("it does not answer: %+v %v\n%s", v, err, x.log)
		}
	}
}

func (x *target) newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: x.tls.Clone(), ForceAttemptHTTP2: true}, Timeout: patience}
}

// clientOf is a client at an address of its own.
func (x *target) clientOf(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: x.tls.Clone(), ForceAttemptHTTP2: true, DialContext: dialer.DialContext}, Timeout: patience}
}

// alive fails the test if the process has ended.
func (x *target) alive(t *testing.T) {
	t.Helper()
	select {
	case err := <-x.exited:
		x.exited <- err
		t.Fatalf("the webhook has ended: %v\n%s", err, x.log)
	default:
	}
}

// peak returns the most memory that the process had since it was last asked, in MiB.
func (x *target) peak() int {
	pid := strconv.Itoa(x.command.Process.Pid)
	peak := statusOf(pid, "VmHWM:")
	_ = os.WriteFile("/proc/"+pid+"/clear_refs", []byte("5"), 0o600) // starts anew from what it has now
	return peak
}

// statusOf returns a size of a process in MiB.
func statusOf(pid, field string) int {
	text, _ := os.ReadFile("/proc/" + pid + "/status")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n >> 10
		}
	}
	return 0
}

// cpu returns the CPU time that the process has used.
func (x *target) cpu() time.Duration {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(x.command.Process.Pid) + "/stat")
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// dial opens a TLS connection that speaks a protocol.
func (x *target) dial(protocol string) (*tls.Conn, error) { return x.dialFrom("127.0.0.1", protocol) }

func (x *target) dialFrom(address, protocol string) (*tls.Conn, error) {
	config := x.tls.Clone()
	config.NextProtos = []string{protocol}
	dialer := tls.Dialer{Config: config, NetDialer: &net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}}
	conn, err := dialer.DialContext(context.Background(), "tcp", x.addr)
	if err != nil {
		return nil, err
	}
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil, errors.New("no TLS")
	}
	return secure, secure.SetDeadline(time.Now().Add(patience))
}

// runOnce runs the webhook until it ends, or answers that it is ready. It returns how
// it ended, the most memory that it had in MiB, and its log.
func runOnce(t *testing.T, args ...string) (ended bool, peak int, log string) {
	t.Helper()
	health := freePort(t)
	c, text := command(t, "", append(args, "--self-signed", "--webhook-host=127.0.0.1", "--webhook-port="+strconv.Itoa(freePort(t)),
		"--health-addr=127.0.0.1:"+strconv.Itoa(health), "--metrics-addr=0")...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- c.Wait() }()
	kill := func() error {
		_ = c.Process.Kill()
		return <-exited
	}
	pid := strconv.Itoa(c.Process.Pid)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-exited:
			if status := (*exec.ExitError)(nil); errors.As(err, &status) && status.ExitCode() != 1 {
				t.Errorf("it did not end by itself: %v", err)
			}
			return true, peak, text.String()
		default:
			peak = max(peak, statusOf(pid, "VmHWM:"))
		}
		response, err := http.Get("http://127.0.0.1:" + strconv.Itoa(health) + "/readyz")
		if err != nil {
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			_ = kill()
			return false, peak, text.String()
		}
	}
	t.Errorf("it neither ended nor became ready, and was killed: %v\n%s", kill(), text)
	return false, 0, ""
}

func join(parts ...string) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		b.WriteString(p)
	}
	return b.Bytes()
}
