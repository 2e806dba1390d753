package owntoken

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
)

// api is an API server that accepts one token, and a file with a token.
type api struct {
	t        *testing.T
	file     string
	server   *httptest.Server
	accepted atomic.Value
	requests atomic.Int32

	mu      sync.Mutex
	changes []bool
}

func newAPI(t *testing.T) (*api, *Token, *http.Client) {
	t.Helper()
	a := &api{t: t, file: filepath.Join(t.TempDir(), "token")}
	a.accepted.Store("first")
	a.write("first\n")
	a.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.requests.Add(1)
		if r.Header.Get("Authorization") != "Bearer "+a.accepted.Load().(string) {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = w.Write([]byte("body"))
	}))
	t.Cleanup(a.server.Close)
	config := &rest.Config{Host: a.server.URL, BearerToken: "first", BearerTokenFile: a.file}
	own, err := Use(config, func(rejected bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.changes = append(a.changes, rejected)
	}, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return a, own, client
}

func (a *api) write(token string) {
	a.t.Helper()
	// As the kubelet does it: nobody sees half a file.
	if err := os.WriteFile(a.file+".new", []byte(token), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(a.file+".new", a.file); err != nil {
		a.t.Fatal(err)
	}
}

func (a *api) send(ctx context.Context, client *http.Client, method, body string) int {
	a.t.Helper()
	var request *http.Request
	var err error
	if body == "" {
		request, err = http.NewRequestWithContext(ctx, method, a.server.URL, nil)
	} else {
		request, err = http.NewRequestWithContext(ctx, method, a.server.URL, strings.NewReader(body))
	}
	if err != nil {
		a.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		a.t.Error(err)
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func (a *api) seen() []bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]bool{}, a.changes...)
}

func TestTheFileIsReadAnewAtTheFirstRefusal(t *testing.T) {
	a, own, client := newAPI(t)
	if code := a.send(t.Context(), client, http.MethodGet, ""); code != http.StatusOK {
		t.Fatal(code)
	}
	a.accepted.Store("second")
	a.write("second")
	if code := a.send(t.Context(), client, http.MethodGet, ""); code != http.StatusOK || a.requests.Load() != 3 {
		t.Errorf("%d after %d requests, want the read to be sent again with the new token", code, a.requests.Load())
	}
	if _, rejected := own.Rejected(); rejected || len(a.seen()) > 0 {
		t.Error("a token that was renewed in time counts as rejected")
	}
}

func TestAWriteIsNeverSentTwice(t *testing.T) {
	a, _, client := newAPI(t)
	a.send(t.Context(), client, http.MethodGet, "")
	a.accepted.Store("second")
	a.write("second")
	before := a.requests.Load()
	if code := a.send(t.Context(), client, http.MethodPost, "x"); code != http.StatusUnauthorized || a.requests.Load() != before+1 {
		t.Errorf("%d after %d requests", code, a.requests.Load()-before)
	}
	if code := a.send(t.Context(), client, http.MethodPost, "x"); code != http.StatusOK {
		t.Errorf("%d, want the next write to have the new token", code)
	}
}

func TestARefusedTokenIsAStateWithABeginningAndAnEnd(t *testing.T) {
	a, own, client := newAPI(t)
	a.accepted.Store("second")
	for range 3 {
		if code := a.send(t.Context(), client, http.MethodGet, ""); code != http.StatusUnauthorized {
			t.Fatal(code)
		}
	}
	if since, rejected := own.Rejected(); !rejected || time.Since(since) > time.Minute || len(a.seen()) != 1 || !a.seen()[0] {
		t.Errorf("rejected %v since %v, changes %v; want one", rejected, since, a.seen())
	}
	a.accepted.Store("first") // another API server, which accepts it
	a.send(t.Context(), client, http.MethodGet, "")
	if _, rejected := own.Rejected(); !rejected {
		t.Error("one API server that accepts the token hides at once that another does not")
	}
	a.accepted.Store("second")
	a.write("second")
	if code := a.send(t.Context(), client, http.MethodGet, ""); code != http.StatusOK {
		t.Fatal(code)
	}
	if _, rejected := own.Rejected(); rejected || len(a.seen()) != 2 {
		t.Errorf("rejected %v, changes %v, after a new token was accepted", rejected, a.seen())
	}
}

func TestWhoIsPatientGoesOnAtOnceWithTheNewToken(t *testing.T) {
	a, own, client := newAPI(t)
	a.accepted.Store("second")
	codes := make(chan int, 1)
	go func() { codes <- a.send(Patient(context.Background()), client, http.MethodGet, "") }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, rejected := own.Rejected(); rejected {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the token is not rejected")
		}
	}
	select {
	case code := <-codes:
		t.Fatalf("it answered %d before there was a new token", code)
	default:
	}
	a.write("second")
	renewed := time.Now()
	if code := <-codes; code != http.StatusOK || time.Since(renewed) > time.Second {
		t.Errorf("%d, %s after the new token", code, time.Since(renewed))
	}
	if n := a.requests.Load(); n != 2 {
		t.Errorf("%d requests, want none while it waited", n)
	}
}

func TestPatienceEndsWithItsContext(t *testing.T) {
	a, _, client := newAPI(t)
	a.accepted.Store("second")
	ctx, cancel := context.WithTimeout(Patient(t.Context()), 300*time.Millisecond)
	defer cancel()
	started := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := client.Do(request); err == nil {
		_ = response.Body.Close()
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestAFileThatCanNotBeReadLeavesTheLastToken(t *testing.T) {
	a, own, client := newAPI(t)
	if err := os.Remove(a.file); err != nil {
		t.Fatal(err)
	}
	if token := own.current(0); token != "first" {
		t.Errorf("%q", token)
	}
	if code := a.send(t.Context(), client, http.MethodGet, ""); code != http.StatusOK {
		t.Error(code)
	}
}

func TestAConfigWithoutATokenFileStaysAsItIs(t *testing.T) {
	config := &rest.Config{BearerToken: "fixed"}
	own, err := Use(config, nil, logr.Discard())
	if err != nil || config.BearerToken != "fixed" || config.WrapTransport != nil {
		t.Errorf("%+v, %v", config, err)
	}
	if _, rejected := own.Rejected(); rejected {
		t.Error("rejected")
	}
	if _, err := Use(&rest.Config{BearerTokenFile: filepath.Join(t.TempDir(), "none")}, nil, logr.Discard()); err == nil {
		t.Error("no error where the file has no token")
	}
}
