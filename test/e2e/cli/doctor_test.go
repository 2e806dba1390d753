package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/servingcert"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// podVolume is what the kubelet mounts into a pod.
type podVolume struct{ dir string }

func (v podVolume) write(t *testing.T, name, text string) {
	t.Helper()
	harness.WriteFile(t, filepath.Join(v.dir, name), []byte(text))
}

func (v podVolume) flags(server string, more ...string) []string {
	return append([]string{"doctor", "-o", "json", "--token-file=" + filepath.Join(v.dir, "token"), "--server=" + server}, more...)
}

func newPodVolume(t *testing.T, ns, account string) podVolume {
	t.Helper()
	v := podVolume{t.TempDir()}
	r, err := env.Client.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v.write(t, "token", r.Status.Token)
	v.write(t, "ca.crt", string(env.Plane.Config.CAData))
	v.write(t, "namespace", ns)
	return v
}

type diagnosis struct {
	OK    bool
	Steps []struct{ Name, Status, Seen, Cure string }
}

func readDiagnosis(t *testing.T, r harness.Output) diagnosis {
	t.Helper()
	var d diagnosis
	if err := json.Unmarshal([]byte(r.Out), &d); err != nil || len(d.Steps) == 0 || d.OK != (r.Status == 0) {
		t.Fatalf("%v: %+v", err, r)
	}
	return d
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return "https://" + l.Addr().String()
}

// brokenLink is a fault on the way from a pod to the API server.
type brokenLink struct {
	name   string
	spoil  func(v podVolume)
	server string
	flags  []string
	broken string
	seen   string
	cure   string
}

// brokenLinks has a fault for each step of the doctor's, and some have several.
func brokenLinks(t *testing.T, ns string) []brokenLink {
	t.Helper()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, by its backlog, and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	unwell := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(unwell.Close)
	noTLS := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(noTLS.Close)
	otherCA, err := servingcert.NewSelfSigned([]string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	account, err := env.Client.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	foreign := func(exp time.Time) string {
		return harness.Mint(t, jose.ES256, stranger, "", map[string]any{
			"iss": harness.Issuer, "aud": []string{harness.Issuer}, "sub": "system:serviceaccount:" + ns + ":default", "exp": exp.Unix(),
			"kubernetes.io": map[string]any{"namespace": ns, "serviceaccount": map[string]any{"name": "default", "uid": string(account.UID)}},
		})
	}
	return []brokenLink{
		{name: "no token file", spoil: func(v podVolume) { _ = os.Remove(filepath.Join(v.dir, "token")) }, broken: "token file", seen: "there is no "},
		{name: "an empty token file", spoil: func(v podVolume) { v.write(t, "token", "\n") }, broken: "token file", seen: "is empty"},
		{name: "a damaged token", spoil: func(v podVolume) { v.write(t, "token", foreign(time.Now())[3:]) }, broken: "claims", seen: "the token is damaged: header"},
		{name: "a token in quotes", spoil: func(v podVolume) { v.write(t, "token", `"`+foreign(time.Now())+`"`) }, broken: "claims", seen: "quotes removed", cure: "put the token there as it is"},
		{name: "an expired token", spoil: func(v podVolume) { v.write(t, "token", foreign(time.Now().Add(-3*time.Hour))) }, broken: "expiry", seen: "expired 3h ago"},
		{name: "no CA", spoil: func(v podVolume) { _ = os.Remove(filepath.Join(v.dir, "ca.crt")) }, broken: "CA", seen: "there is no "},
		{name: "a CA that is none", spoil: func(v podVolume) { v.write(t, "ca.crt", "x") }, broken: "CA", seen: "certificates: none"},
		{name: "an address without https", server: "http://127.0.0.1:6443", broken: "address", seen: "not https"},
		{name: "no DNS", server: "https://kubernetes.default.svc.invalid", broken: "name", seen: "is not resolved", cure: "DNS"},
		{name: "a closed port", server: closedPort(t), broken: "TCP", seen: "refuses connections"},
		{name: "an API server that never answers", server: "https://" + silent.Addr().String(), flags: []string{"--request-timeout=1s"}, broken: "TLS", seen: "nobody answers"},
		{name: "something else that listens", server: strings.Replace(noTLS.URL, "http:", "https:", 1), broken: "TLS", seen: "does not speak TLS"},
		{name: "the wrong CA", spoil: func(v podVolume) { v.write(t, "ca.crt", string(otherCA.CA())) }, broken: "TLS", seen: "and not by the one that is trusted here", cure: "kube-root-ca.crt"},
		{name: "another name", flags: []string{"--tls-server-name=other.example"}, broken: "TLS", seen: "is not for other.example, but for"},
		{name: "an API server that is not well", server: unwell.URL, spoil: func(v podVolume) { v.write(t, "ca.crt", string(harness.PEMCertificate(unwell.Certificate().Raw))) }, broken: "anonymous", seen: "503"},
		{name: "a token that is refused", spoil: func(v podVolume) { v.write(t, "token", foreign(time.Now().Add(time.Hour))) }, broken: "authenticated", seen: "401 Unauthorized", cure: "token verify"},
		{name: "no RBAC", broken: "permissions", seen: "403 Forbidden", cure: "kubectl create rolebinding"},
	}
}

// With each link of the chain broken in turn that one is named.
func TestDoctorNamesTheBrokenLink(t *testing.T) {
	ns := env.NewNamespace(t)
	server := strings.TrimSuffix(env.Plane.Config.Host, "/")
	if !strings.HasPrefix(server, "https://") {
		server = "https://" + server
	}
	for _, tt := range brokenLinks(t, ns) {
		t.Run(tt.name, func(t *testing.T) {
			v := newPodVolume(t, ns, "default")
			if tt.spoil != nil {
				tt.spoil(v)
			}
			if tt.server == "" {
				tt.server = server
			}
			r := harness.Tokenward(t, "", v.flags(tt.server, tt.flags...)...)
			d := readDiagnosis(t, r)
			last := d.Steps[len(d.Steps)-1]
			if r.Status != 1 || last.Status != "failed" || last.Name != tt.broken || !strings.Contains(last.Seen, tt.seen) || !strings.Contains(last.Cure, tt.cure) {
				t.Errorf("exit status %d, %+v", r.Status, d)
			}
			if text, _ := os.ReadFile(filepath.Join(v.dir, "token")); len(text) > 40 && strings.Contains(r.Out+r.Err, string(text[len(text)-40:])) {
				t.Error("the signature is printed")
			}
		})
	}
}

// When all is well it says who one is, and what one may do; also
// where anonymous requests are refused.
func TestDoctorWhenAllIsWell(t *testing.T) {
	ns := env.NewNamespace(t)
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list"}}}}
	if _, err := env.Client.RbacV1().Roles(ns).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "default", Namespace: ns}},
	}
	if _, err := env.Client.RbacV1().RoleBindings(ns).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	closed, err := env.Plane.StartAnother(env.Plane.Config, map[string][]string{"anonymous-auth": {"false"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closed.Stop)
	v := newPodVolume(t, ns, "default")
	for _, tt := range []struct{ name, server, anonymous string }{
		{"anonymous requests are answered", env.Plane.Config.Host, "403 Forbidden for system:anonymous, as it should be"},
		{"anonymous requests are refused", "https://" + closed.Address, "401 Unauthorized, as it should be"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d diagnosis
			harness.WaitUntil(t, func() error { // until RBAC has heard of the binding
				d = readDiagnosis(t, harness.Tokenward(t, "", v.flags(tt.server)...))
				if !d.OK {
					return os.ErrNotExist
				}
				return nil
			})
			want := []string{"token file", "claims", "expiry", "namespace", "CA", "address", "name", "TCP", "TLS", "anonymous", "authenticated", "who am I", "permissions"}
			var names []string
			seen := map[string]string{}
			for _, s := range d.Steps {
				names = append(names, s.Name)
				seen[s.Name] = s.Seen
				if s.Status != "ok" {
					t.Errorf("%+v", s)
				}
			}
			if !slices.Equal(names, want) {
				t.Errorf("steps %q, want %q", names, want)
			}
			harness.MustContain(t, seen["anonymous"], tt.anonymous)
			harness.MustContain(t, seen["authenticated"], "GET /api with the token: 200 OK")
			harness.MustContain(t, seen["who am I"], "system:serviceaccount:"+ns+":default")
			if want := "in the namespace " + ns + ": get, list pods"; seen["permissions"] != want {
				t.Errorf("permissions: %q, want %q", seen["permissions"], want)
			}
		})
	}
	t.Run("by a kubeconfig", func(t *testing.T) {
		d := readDiagnosis(t, harness.Tokenward(t, "", "doctor", "-o", "json", "--kubeconfig="+env.Plane.Kubeconfig))
		last := d.Steps[len(d.Steps)-1]
		if !d.OK || d.Steps[0].Name != "CA" || last.Seen != "in the namespace default: do anything with everything" {
			t.Errorf("%+v", d)
		}
	})
}

// In a pod that was given no token.
func TestDoctorInAPodWithoutAToken(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
	d := readDiagnosis(t, harness.Tokenward(t, "", "doctor", "-o", "json"))
	if last := d.Steps[0]; len(d.Steps) != 1 || last.Name != "token file" {
		t.Fatalf("%+v", d)
	}
	harness.MustContain(t, d.Steps[0].Cure, "automountServiceAccountToken is false", "admission plugin ServiceAccount")
}
