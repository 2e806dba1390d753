package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/servingcert"
)

// world is an API server, and the way to it, each part of which can be broken.
type world struct {
	files    map[string]string
	modified time.Time
	names    map[string][]string
	dnsError error
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	now      time.Time
	answers  map[string]answer
	target   Target
}

// answer is what the API server says with and without a token.
type answer struct {
	status int
	body   any
}

const (
	dir        = "/var/run/secrets/kubernetes.io/serviceaccount/"
	serverName = "example.com" // of httptest's certificate
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		key := r.URL.Path
		if r.Header.Get("Authorization") == "" {
			key = "anonymous"
		}
		a := w.answers[key]
		out.Header().Set("Content-Type", "application/json")
		out.WriteHeader(a.status)
		_ = json.NewEncoder(out).Encode(a.body)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	w.now = time.Now()
	w.modified = w.now.Add(-5 * time.Minute)
	w.files = map[string]string{
		dir + "token": newToken(t, w.now.Add(50*time.Minute)), dir + "namespace": "shop",
		dir + "ca.crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
	}
	w.names = map[string][]string{serverName: {"192.0.2.1"}}
	w.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}
	type object = map[string]any
	w.answers = map[string]answer{
		"anonymous": {http.StatusForbidden, nil}, "/api": {http.StatusOK, nil},
		"/apis/authentication.k8s.io/v1/selfsubjectreviews": {http.StatusCreated, object{
			"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "status": object{"userInfo": object{"username": "system:serviceaccount:shop:robot"}},
		}},
		"/apis/authorization.k8s.io/v1/selfsubjectrulesreviews": {http.StatusCreated, object{
			"kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "status": object{
				"nonResourceRules": []any{}, "incomplete": false,
				"resourceRules": []any{object{"verbs": []string{"get"}, "apiGroups": []string{"apps"}, "resources": []string{"deployments"}}},
			},
		}},
	}
	w.target = Target{
		Config:    &rest.Config{Host: "https://" + serverName + ":6443"},
		TokenFile: dir + "token", CAFile: dir + "ca.crt", NamespaceFile: dir + "namespace", InPod: true,
	}
	return w
}

func newToken(t *testing.T, expires time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(map[string]any{
		"iss": "https://issuer.test", "sub": "system:serviceaccount:shop:robot", "exp": expires.Unix(), "nbf": expires.Add(-time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]any{"name": "robot", "uid": "1"}},
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (w *world) environment() Environment {
	return Environment{
		ReadFile: func(path string) ([]byte, error) {
			text, ok := w.files[path]
			switch {
			case !ok:
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			case text == "forbidden":
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
			}
			return []byte(text), nil
		},
		Modified: func(string) (time.Time, error) { return w.modified, nil },
		Resolve: func(_ context.Context, host string) ([]string, error) {
			if w.dnsError != nil {
				return nil, w.dnsError
			}
			return w.names[host], nil
		},
		Dial: w.dial, Now: func() time.Time { return w.now }, Patience: 2 * time.Second,
	}
}

func TestTheWholeChain(t *testing.T) {
	w := newWorld(t)
	var told []Step
	report := Examine(t.Context(), w.environment(), w.target, func(s Step) { told = append(told, s) })
	want := []struct {
		name Name
		seen string
	}{
		{TokenFile, dir + "token, "}, {Claims, "a bound token of shop/robot"}, {Expiry, "expires in "}, {Namespace, "shop"}, {CA, dir + "ca.crt: "},
		{Address, "https://example.com:6443"}, {Resolution, "example.com is 192.0.2.1"}, {TCP, "connected to 192.0.2.1:6443"}, {TLS, "the certificate is good"},
		{Anonymous, "GET /api without a token: 403 Forbidden for system:anonymous, as it should be"}, {Authenticated, "GET /api with the token: 200 OK"},
		{WhoAmI, `"system:serviceaccount:shop:robot"`}, {Permissions, "in the namespace shop: get deployments.apps"},
	}
	if report.Broken() != nil || len(report.Steps) != len(want) || len(told) != len(want) {
		t.Fatalf("%+v", report)
	}
	for i, s := range report.Steps {
		if s.Name != want[i].name || s.Status != OK || !strings.HasPrefix(s.Seen, want[i].seen) {
			t.Errorf("%+v, want %+v", s, want[i])
		}
	}
}

// Each link broken in turn is the last that is told, and has a cure.
func TestTheBrokenLinkIsNamed(t *testing.T) {
	reviews, rules := "/apis/authentication.k8s.io/v1/selfsubjectreviews", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
	tests := []struct {
		name   string
		spoil  func(w *world)
		broken Name
		seen   string
		cure   string
	}{
		{"no token file in a pod", func(w *world) { delete(w.files, dir+"token") }, TokenFile, "there is no ", "admission plugin ServiceAccount"},
		{"no token file elsewhere", func(w *world) { delete(w.files, dir+"token"); w.target.InPod = false }, TokenFile, "there is no ", "--token-file"},
		{"a token file that may not be read", func(w *world) { w.files[dir+"token"] = "forbidden" }, TokenFile, "may not read", "fsGroup"},
		{"an empty token file", func(w *world) { w.files[dir+"token"] = "" }, TokenFile, "is empty", "projected"},
		{"something that is no token", func(w *world) { w.files[dir+"token"] = w.files[dir+"ca.crt"] }, Claims, "a certificate, not a token", "as it is"},
		{"base64", func(w *world) { w.files[dir+"token"] = "Bearer " + w.files[dir+"token"] }, Claims, `such as "Bearer"`, "as it is"},
		{"expired, and not renewed", func(w *world) { w.now = w.now.Add(2 * time.Hour) }, Expiry, "expired 70m ago", "subPath"},
		{"not valid yet", func(w *world) { w.now = w.now.Add(-2 * time.Hour) }, Expiry, "not valid before", "clocks"},
		{"no CA", func(w *world) { delete(w.files, dir+"ca.crt") }, CA, "there is no ", "kube-root-ca.crt"},
		{"a CA that is none", func(w *world) { w.files[dir+"ca.crt"] = "x" }, CA, "certificates: none", "kube-root-ca.crt"},
		{"no address", func(w *world) { w.target.Config.Host = "" }, Address, "nobody says", "KUBERNETES_SERVICE_HOST"},
		{"http", func(w *world) { w.target.Config.Host = "http://x" }, Address, "not https", "https://"},
		{"no such name", func(w *world) { w.dnsError = &net.DNSError{IsNotFound: true} }, Resolution, "there is no such name", "resolv.conf"},
		{"no such name of a Service", func(w *world) {
			w.target.Config.Host, w.dnsError = "https://kubernetes.default.svc", &net.DNSError{IsNotFound: true}
		}, Resolution, "there is no such name", "kube-dns"},
		{"no name server", func(w *world) { w.dnsError = &net.DNSError{IsTimeout: true} }, Resolution, "no name server answers", "resolv.conf"},
		{"a closed port", refuse(syscall.ECONNREFUSED), TCP, "refuses connections", "Nothing listens"},
		{"packets that are dropped", refuse(context.DeadlineExceeded), TCP, "does not answer", "NetworkPolicy"},
		{"no route", refuse(syscall.EHOSTUNREACH), TCP, "no connection to", "routes"},
		{"one who hangs up", func(w *world) {
			w.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return nil, err
				}
				go func() {
					if conn, err := l.Accept(); err == nil {
						_, _ = conn.Read(make([]byte, 1))
						_ = conn.Close()
					}
					_ = l.Close()
				}()
				return (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
			}
		}, TLS, "hangs up", "load balancer"},
		{"another name", func(w *world) { w.target.Config.ServerName = "other.test" }, TLS, "is not for other.test, but for", "Call it by"},
		{"no answer to a request", func(w *world) { w.answers["anonymous"] = answer{503, nil} }, Anonymous, "503 Service Unavailable", "etcd"},
		{"too many requests", func(w *world) { w.answers["anonymous"] = answer{429, nil} }, Anonymous, "429 Too Many Requests", "try again"},
		{"a token that is refused", func(w *world) { w.answers["/api"] = answer{401, nil} }, Authenticated, "401 Unauthorized", "no RoleBinding mends that"},
		{"not an API server", func(w *world) { w.answers["/api"] = answer{404, nil} }, Authenticated, "404 Not Found", "check the address"},
		{"a token that is refused in between", func(w *world) { w.answers[reviews] = answer{401, failure(401, "Unauthorized")} }, WhoAmI, "401 Unauthorized", "token verify"},
		{"no right to ask for rights", func(w *world) { w.answers[rules] = answer{403, failure(403, "Forbidden")} }, Permissions, "403 Forbidden", "--serviceaccount=shop:robot"},
		{"no rights", func(w *world) {
			w.answers[rules] = answer{201, map[string]any{"kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "status": map[string]any{"resourceRules": []any{}, "nonResourceRules": []any{}}}}
		}, Permissions, "none in the namespace shop", "--serviceaccount=shop:robot"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.spoil(w)
			report := Examine(t.Context(), w.environment(), w.target, nil)
			broken := report.Broken()
			if broken == nil || broken.Name != tt.broken || !strings.Contains(broken.Seen, tt.seen) || !strings.Contains(broken.Cure, tt.cure) {
				t.Errorf("%+v", report.Steps)
			}
		})
	}
}

func refuse(err error) func(*world) {
	return func(w *world) {
		w.dial = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: err}
		}
	}
}

func failure(code int, reason string) any {
	return map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "no"}
}

// What is strange and breaks nothing does not end the chain.
func TestNotesDoNotEndTheChain(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(w *world)
		noted Name
		seen  string
	}{
		{"no namespace file", func(w *world) { delete(w.files, dir+"namespace") }, Namespace, "can't read"},
		{"the token of another namespace", func(w *world) { w.files[dir+"namespace"] = "bank" }, Namespace, "another namespace"},
		{"about to expire", func(w *world) { w.now = w.now.Add(45 * time.Minute) }, Expiry, "expires in"},
		{"anonymous may see it", func(w *world) { w.answers["anonymous"] = answer{200, nil} }, Anonymous, "200 OK"},
		{"403 is the answer to a good token", func(w *world) { w.answers["/api"] = answer{403, nil} }, Authenticated, "403 Forbidden"},
		{"may not ask who it is", func(w *world) {
			w.answers["/apis/authentication.k8s.io/v1/selfsubjectreviews"] = answer{403, failure(403, "Forbidden")}
		}, WhoAmI, "may not ask"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.spoil(w)
			report := Examine(t.Context(), w.environment(), w.target, nil)
			if report.Broken() != nil {
				t.Fatalf("%+v", report.Broken())
			}
			for _, s := range report.Steps {
				if (s.Status == Note) != (s.Name == tt.noted) || s.Name == tt.noted && !strings.Contains(s.Seen, tt.seen) {
					t.Errorf("%+v", s)
				}
			}
		})
	}
}

// A server that accepts and never answers is told from one that refuses.
func TestASilentServer(t *testing.T) {
	w := newWorld(t)
	w.dial = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() { // reads, and says nothing
			for {
				if _, err := there.Read(make([]byte, 1024)); err != nil {
					return
				}
			}
		}()
		return here, nil
	}
	e := w.environment()
	e.Patience = 100 * time.Millisecond
	broken := Examine(t.Context(), e, w.target, nil).Broken()
	if broken == nil || broken.Name != TLS || !strings.Contains(broken.Seen, "nobody answers") {
		t.Errorf("%+v", broken)
	}
}

func TestTheWrongCA(t *testing.T) {
	w := newWorld(t)
	other, err := servingcert.NewSelfSigned([]string{serverName}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.files[dir+"ca.crt"] = string(other.CA())
	broken := Examine(t.Context(), w.environment(), w.target, nil).Broken()
	if broken == nil || broken.Name != TLS || !strings.Contains(broken.Seen, "not by the one that is trusted here") {
		t.Errorf("%+v", broken)
	}
}

func TestWhatOthersSayDoesNotControlTheTerminal(t *testing.T) {
	w := newWorld(t)
	environment := w.environment()
	environment.ReadFile = func(string) ([]byte, error) { return nil, errors.New("on fire\x1b[2J\n\u202e\x9bnow") }
	broken := Examine(t.Context(), environment, w.target, nil).Broken()
	if broken == nil || !strings.HasSuffix(broken.Seen, ": on fire [2J now") {
		t.Errorf("%+q", broken)
	}
}
