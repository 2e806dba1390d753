package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/cluster"
)

// asker sends reviews to the webhook itself, as an API server does.
type asker struct {
	url    string
	tls    *tls.Config
	client *http.Client
}

func (s *server) asker(t *testing.T) *asker {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.ca)
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	a := &asker{
		url: "https://127.0.0.1:" + strconv.Itoa(s.port) + "/validate/pods?timeout=5s", tls: config,
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 25}, Timeout: patience},
	}
	t.Cleanup(a.client.CloseIdleConnections)
	return a
}

// reviewBody is a review of a pod in the namespace default.
func reviewBody(t testing.TB, p *corev1.Pod) []byte {
	t.Helper()
	return reviewBodyIn(t, metav1.NamespaceDefault, p)
}

func reviewBodyIn(t testing.TB, namespace string, p *corev1.Pod) []byte {
	t.Helper()
	p.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	object, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(&admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "u", Namespace: namespace, Operation: admissionv1.Create,
			Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Object: runtime.RawExtension{Raw: object},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (a *asker) ask(ctx context.Context, body []byte) (*admissionv1.AdmissionResponse, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(text, &review); err != nil || review.Response == nil {
		return nil, fmt.Errorf("%s: %s", response.Status, text)
	}
	return review.Response, nil
}

// D7: the API server is killed and restarted under load. What the index knows
// is answered all the while, what is missing is never let in, and afterwards
// all is right again by itself.
func TestAPIServerRestartUnderLoad(t *testing.T) {
	own, c := ownPlane(t)
	secret := func(name string) error {
		_, err := c.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	}
	if err := secret("there"); err != nil {
		t.Fatal(err)
	}
	s := launch(t, "--kubeconfig="+installIn(t, own, chart.Default()).kubeconfig, "--policy-file="+policyFile(t, strict), "--log-level=error")
	s.waitReady(t)
	a := s.asker(t)
	good, bad := reviewBody(t, pod("good", secretVolume("there", false))), reviewBody(t, pod("bad", secretVolume("gone", false)))

	loading, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var asked atomic.Int64
	for i := range 8 {
		body, want := good, true
		if i%2 == 1 {
			body, want = bad, false
		}
		group.Go(func() {
			for loading.Err() == nil {
				r, err := a.ask(t.Context(), body)
				if err != nil || r.Allowed != want {
					t.Errorf("wrong in between: %+v, %v; want allowed=%t", r, err, want)
					return
				}
				asked.Add(1)
			}
		})
	}
	err := own.RestartAPIServer(func() {
		during := asked.Load()
		waitUntil(t, func() error {
			if asked.Load() < during+100 {
				return errors.New("no reviews while the API server is down")
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	waitUntil(t, func() error {
		n++
		name := fmt.Sprintf("after-%d", n)
		if err := secret(name); err != nil {
			return err
		}
		r, err := a.ask(t.Context(), reviewBody(t, pod(name, secretVolume(name, false))))
		if err != nil {
			return err
		}
		if !r.Allowed {
			return errors.New(r.Result.Message)
		}
		return nil
	})
	stop()
	group.Wait()
	t.Logf("%d reviews", asked.Load())
}

func waitUntil(t *testing.T, condition func() error) {
	t.Helper()
	if err := cluster.Eventually(t.Context(), patience, func(context.Context) error { return condition() }); err != nil {
		t.Fatal(err)
	}
}

// X7: Secret data, also through kubectl apply's annotation, is kept nowhere: not
// in the heap, and in no log line, metric or answer.
func TestNoSecretByteStays(t *testing.T) {
	dir := t.TempDir()
	path, dump := filepath.Join(dir, "heapdump"), filepath.Join(dir, "dump")
	build := exec.Command("go", "build", "-o", path, "./test/e2e/heapdump")
	build.Dir = cluster.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("HEAPDUMP", dump)
	ns := newNamespace(t)
	marker := func(i int) string { return fmt.Sprintf("MARKER-%d-d41d8cd98f00b204", i) }
	secret := func(name string, i int) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Name:        name,
				Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: `{"stringData":{"k":"` + marker(i) + `"}}`, "a": marker(i)},
				Labels:      map[string]string{"l": marker(i)},
			},
			StringData: map[string]string{"k": marker(i)},
		}
	}
	// Some before the first list, some through the watch.
	for i := range markedBefore {
		if _, err := client.CoreV1().Secrets(ns).Create(t.Context(), secret(fmt.Sprintf("s-%d", i), i), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	tokens := tokenSecrets(t, ns, "before", tokensEach)
	s := launchBinary(t, path, "--kubeconfig="+standard.kubeconfig)
	s.waitReady(t)
	s.register(t, ns)
	tokens = append(tokens, tokenSecrets(t, ns, "after", tokensEach)...)
	answers := ""
	for i := range tokensEach {
		p := pod(fmt.Sprintf("t-%d", i), secretVolume(fmt.Sprintf("before-%d", i), false), secretKey(fmt.Sprintf("after-%d", i), "token"))
		lines, err := try(t, ns, p)
		if err != nil {
			t.Fatal(err)
		}
		found := auditAnnotation(t, ns, p.Name, "findings")
		mustContain(t, found, "token-in-environment") // it was looked into
		answers += strings.Join(lines, "\n") + found
	}
	for i := range markedAfter {
		name := fmt.Sprintf("w-%d", i)
		if _, err := client.CoreV1().Secrets(ns).Create(t.Context(), secret(name, markedBefore+i), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		// Keys are read live, from the whole Secret.
		p := pod(name, secretKey(name, "k"), secretKey(fmt.Sprintf("s-%d", i), "k"), secretKey(name, "gone"), secretVolume("gone", false))
		lines, err := try(t, ns, p)
		if err != nil {
			t.Fatal(err)
		}
		answers += strings.Join(lines, "\n") + auditAnnotation(t, ns, name, "findings")
	}
	// The newest responses stand in the buffers of open connections until others
	// take their place: let some come that are larger and have nothing to hide.
	var heap []byte
	rounds := 0
	waitUntil(t, func() error {
		rounds++
		plainTraffic(t, ns, rounds)
		_ = os.Remove(dump)
		if err := s.command.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, func() (err error) { heap, err = os.ReadFile(dump); return err })
		if n := distinctMarkers(heap); n > leftovers {
			return fmt.Errorf("heap dump %d: the data of %d Secrets", rounds, n)
		}
		if n := signaturesIn(string(heap), tokens); n > leftovers/4 {
			return fmt.Errorf("heap dump %d: %d tokens", rounds, n)
		}
		return nil
	})
	_, metrics := s.get(s.metrics, "/metrics")
	for where, text := range map[string]string{"log": s.log.String(), "metrics": metrics, "answers": answers} {
		if n := strings.Count(text, "MARKER-"); n > 0 {
			t.Errorf("%s: %d markers", where, n)
		}
		if n := signaturesIn(text, tokens); n > 0 {
			t.Errorf("%s: %d tokens", where, n)
		}
		if text == "" {
			t.Errorf("%s: nothing to look into", where)
		}
	}
	// The dump is of this process: what it must know is there.
	if !bytes.Contains(heap, []byte("w-99")) {
		t.Error("the heap dump does not have the names of the Secrets")
	}
}

// leftovers allows for the receive buffers of open TLS connections, which keep
// up to 16 KB of what came last until something longer comes. Anything that is
// kept on purpose would be there for every Secret.
const leftovers, markedBefore, markedAfter, tokensEach = 60, 900, 100, 60

// tokenSecrets makes token Secrets of the account default and returns their tokens.
func tokenSecrets(t *testing.T, ns, name string, n int) []string {
	t.Helper()
	for i := range n {
		_, err := client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", name, i), Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
			Type:       corev1.SecretTypeServiceAccountToken,
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	tokens := make([]string, n)
	for i := range n {
		waitUntil(t, func() error {
			s, err := client.CoreV1().Secrets(ns).Get(t.Context(), fmt.Sprintf("%s-%d", name, i), metav1.GetOptions{})
			if err != nil {
				return err
			}
			if tokens[i] = string(s.Data["token"]); tokens[i] == "" {
				return errors.New("the token controller has not filled " + s.Name)
			}
			return nil
		})
	}
	return tokens
}

// signaturesIn counts the tokens whose signature is in a text: without it a
// token opens nothing.
func signaturesIn(text string, tokens []string) int {
	n := 0
	for _, token := range tokens {
		if strings.Contains(text, token[strings.LastIndex(token, ".")+1:]) {
			n++
		}
	}
	return n
}

// distinctMarkers counts the Secrets whose data is in a heap dump.
func distinctMarkers(heap []byte) int {
	found := map[string]bool{}
	for _, m := range regexp.MustCompile(`MARKER-\d+-`).FindAll(heap, -1) {
		found[string(m)] = true
	}
	return len(found)
}

// plainTraffic sends Secrets without markers through the watch and live reads.
func plainTraffic(t *testing.T, ns string, round int) {
	t.Helper()
	for i := range 10 {
		name := fmt.Sprintf("plain-%d-%d", round, i)
		plain := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"a": strings.Repeat("plain ", 5_000)}},
			StringData: map[string]string{"k": strings.Repeat("plain ", 5_000)},
		}
		if i%2 == 1 { // through the watch of token Secrets, too
			plain.Type = corev1.SecretTypeServiceAccountToken
			plain.Annotations[corev1.ServiceAccountNameKey] = "default"
		}
		if _, err := client.CoreV1().Secrets(ns).Create(t.Context(), plain, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := try(t, ns, pod(name, secretKey(name, "k"), secretVolume(name, false))); err != nil {
			t.Fatal(err)
		}
	}
}

// D7: no review is lost on SIGTERM, if whoever asks goes elsewhere once the
// server is unready.
func TestNoReviewIsLostOnSIGTERM(t *testing.T) {
	s := startWebhook(t, "--shutdown-delay=1s", "--log-level=error")
	a := s.asker(t)
	body := reviewBody(t, pod("p", secretVolume("gone", false)))
	var group sync.WaitGroup
	var answered atomic.Int64
	for range 16 {
		group.Go(func() {
			for looked := (time.Time{}); ; {
				if time.Since(looked) > 100*time.Millisecond {
					if code, _ := s.get(s.health, "/readyz"); code != http.StatusOK {
						return
					}
					looked = time.Now()
				}
				if _, err := a.ask(t.Context(), body); err != nil {
					t.Errorf("lost: %v", err)
					return
				}
				answered.Add(1)
			}
		})
	}
	waitUntil(t, func() error {
		if answered.Load() < 500 {
			return errors.New("no load yet")
		}
		return nil
	})
	if err := s.stop(t); err != nil {
		t.Errorf("exit status: %v", err)
	}
	group.Wait()
	t.Logf("%d reviews", answered.Load())
}

// Connections that do nothing, or send and read slowly, hold nobody up.
func TestIdleAndSlowClientsHoldNobodyUp(t *testing.T) {
	const slow = 100
	idle := 10_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if most := int(limit.Max) - 2000; idle > most {
		t.Logf("this machine allows only %d open files", limit.Max)
		idle = max(most, 500)
	}
	s := startWebhook(t, "--log-level=error")
	a := s.asker(t)
	body := reviewBody(t, pod("p"))
	address := "127.0.0.1:" + strconv.Itoa(s.port)
	open := make(chan net.Conn, idle+2*slow)
	defer func() {
		close(open)
		for c := range open {
			_ = c.Close()
		}
	}()
	dial := func(send string) {
		conn, err := (&tls.Dialer{Config: a.tls}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		open <- conn
		if _, err := io.WriteString(conn, send); err != nil {
			t.Error(err)
		}
	}
	head := fmt.Sprintf("POST /validate/pods HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(body))
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			for range idle / 32 {
				dial("")
			}
		})
	}
	for range slow {
		group.Go(func() { dial(head + string(body[:10])) }) // never sends the rest
		group.Go(func() { dial(head + string(body)) })      // never reads the answer
	}
	group.Wait()
	for range 200 {
		start := time.Now()
		if r, err := a.ask(t.Context(), body); err != nil || !r.Allowed {
			t.Fatalf("%+v, %v", r, err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Fatalf("a review took %s", took)
		}
	}
}
