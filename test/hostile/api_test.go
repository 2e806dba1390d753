package hostile

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// object is an object of the API server, in JSON.
type object = map[string]any

// api is an API server in memory: it lists, watches and gets what it has.
type api struct {
	*httptest.Server
	kubeconfig string
	key        *rsa.PrivateKey

	mu       sync.Mutex
	objects  map[string][]object // by resource
	version  int
	watchers map[chan event]string // the resource that each watches

	jwks atomic.Pointer[http.HandlerFunc] // in the place of the keys
	gets atomic.Int64                     // reads and lists, watches left out
	// refuse has all reads of single objects answered with a status; 0 for none.
	refuse atomic.Int64
}

type event struct {
	kind   string
	object object
}

func newAPI(t *testing.T) *api {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	a := &api{objects: map[string][]object{}, watchers: map[chan event]string{}, version: 1000, key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/{resource}", a.collection)
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/{resource}", a.collection)
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/{resource}/{name}", a.get)
	mux.HandleFunc("GET /api/v1/namespaces/{name}", a.get)
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":"https://issuer","jwks_uri":"%s/openid/v1/jwks"}`, a.URL)
	})
	mux.HandleFunc("GET /openid/v1/jwks", func(w http.ResponseWriter, r *http.Request) {
		if hostile := a.jwks.Load(); hostile != nil {
			(*hostile)(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: a.key.Public(), KeyID: "good", Algorithm: "RS256", Use: "sig"}}})
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(func() { a.CloseClientConnections(); a.Close() })
	a.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: "` + a.URL + `"}}]}`
	if err := os.WriteFile(a.kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// put creates or changes an object, and tells whoever watches.
func (a *api) put(resource, namespace, name string, content object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	metadata, _ := content["metadata"].(object)
	if metadata == nil {
		metadata = object{}
	}
	metadata["name"], metadata["resourceVersion"] = name, strconv.Itoa(a.version)
	metadata["uid"] = fmt.Sprintf("%08x-0c11-4a53-9a8e-2f0f3d0c9a11", a.version)
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	content["metadata"] = metadata
	kind := "ADDED"
	for i, o := range a.objects[resource] {
		if known, _ := o["metadata"].(object); known["name"] == name && known["namespace"] == metadata["namespace"] {
			kind = "MODIFIED"
			a.objects[resource] = append(a.objects[resource][:i:i], a.objects[resource][i+1:]...)
			break
		}
	}
	a.objects[resource] = append(a.objects[resource], content)
	for w, of := range a.watchers {
		if of == resource {
			select {
			case w <- event{kind, content}:
			default:
			}
		}
	}
}

func (a *api) list(resource string) ([]object, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]object(nil), a.objects[resource]...), a.version
}

func (a *api) get(w http.ResponseWriter, r *http.Request) {
	a.gets.Add(1)
	w.Header().Set("Content-Type", "application/json")
	resource := r.PathValue("resource")
	if resource == "" {
		resource = "namespaces"
	}
	if code := a.refuse.Load(); code != 0 {
		w.WriteHeader(int(code))
		_, _ = fmt.Fprintf(w, `{"apiVersion":"v1","kind":"Status","status":"Failure","code":%d}`, code)
		return
	}
	all, _ := a.list(resource)
	for _, o := range all {
		metadata, _ := o["metadata"].(object)
		if metadata["name"] == r.PathValue("name") && (resource == "namespaces" || metadata["namespace"] == r.PathValue("namespace")) {
			_ = json.NewEncoder(w).Encode(as(o, resource, false))
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
	_, _ = fmt.Fprintf(w, `{"apiVersion":"v1","kind":"Status","status":"Failure","reason":"NotFound","code":404,"details":{"name":%q,"kind":%q}}`, r.PathValue("name"), resource)
}

// kinds by resource.
func kindOf(resource string) string {
	return map[string]string{"secrets": "Secret", "configmaps": "ConfigMap", "serviceaccounts": "ServiceAccount", "namespaces": "Namespace"}[resource]
}

// as returns an object as a client asks for it: whole, or its metadata alone.
func as(o object, resource string, metadataOnly bool) object {
	if metadataOnly {
		return object{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": o["metadata"]}
	}
	out := object{"apiVersion": "v1", "kind": kindOf(resource)}
	for k, v := range o {
		out[k] = v
	}
	return out
}

func (a *api) collection(w http.ResponseWriter, r *http.Request) {
	resource, query := r.PathValue("resource"), r.URL.Query()
	metadataOnly := strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadata")
	chosen := func(o object) bool {
		metadata, _ := o["metadata"].(object)
		if ns := r.PathValue("namespace"); ns != "" && metadata["namespace"] != ns {
			return false
		}
		return !strings.Contains(query.Get("fieldSelector"), "type=") || o["type"] == "kubernetes.io/service-account-token"
	}
	w.Header().Set("Content-Type", "application/json")
	if query.Get("watch") != "" {
		a.watch(w, r, resource, metadataOnly, chosen)
		return
	}
	a.gets.Add(1)
	all, version := a.list(resource)
	items, next := []object{}, ""
	limit, _ := strconv.Atoi(query.Get("limit"))
	from, _ := strconv.Atoi(query.Get("continue"))
	for i, o := range all {
		if i < from || !chosen(o) {
			continue
		}
		if limit > 0 && len(items) == limit {
			next = strconv.Itoa(i)
			break
		}
		items = append(items, as(o, resource, metadataOnly))
	}
	kind, apiVersion := kindOf(resource)+"List", "v1"
	if metadataOnly {
		kind, apiVersion = "PartialObjectMetadataList", "meta.k8s.io/v1"
	}
	_ = json.NewEncoder(w).Encode(object{"apiVersion": apiVersion, "kind": kind, "metadata": object{"resourceVersion": strconv.Itoa(version), "continue": next}, "items": items})
}

func (a *api) watch(w http.ResponseWriter, r *http.Request, resource string, metadataOnly bool, chosen func(object) bool) {
	events := make(chan event, 1000)
	a.mu.Lock()
	a.watchers[events] = resource
	first, version := append([]object(nil), a.objects[resource]...), a.version
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.watchers, events)
		a.mu.Unlock()
	}()
	encoder := json.NewEncoder(w)
	send := func(kind string, o object) {
		if chosen(o) {
			_ = encoder.Encode(object{"type": kind, "object": as(o, resource, metadataOnly)})
		}
	}
	bookmark := func(annotations object) {
		_ = encoder.Encode(object{"type": "BOOKMARK", "object": as(object{"metadata": object{"resourceVersion": strconv.Itoa(version), "annotations": annotations}}, resource, metadataOnly)})
	}
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		for _, o := range first {
			send("ADDED", o)
		}
		bookmark(object{"k8s.io/initial-events-end": "true"})
	}
	for {
		if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		}
		select {
		case <-r.Context().Done():
			return
		case e := <-events:
			send(e.kind, e.object)
		case <-time.After(10 * time.Second):
			bookmark(nil)
		}
	}
}

// token is one of a token Secret, as the token controller makes it.
func (a *api) token(t *testing.T, namespace, secret string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: a.key, KeyID: "good"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(object{
		"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:" + namespace + ":default",
		"kubernetes.io/serviceaccount/namespace": namespace, "kubernetes.io/serviceaccount/secret.name": secret,
		"kubernetes.io/serviceaccount/service-account.name": "default", "kubernetes.io/serviceaccount/service-account.uid": "1",
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// putToken makes a token Secret with anything for a token.
func (a *api) putToken(namespace, name, token string) {
	a.put("secrets", namespace, name, object{
		"type":     "kubernetes.io/service-account-token",
		"metadata": object{"annotations": object{"kubernetes.io/service-account.name": "default"}},
		"data":     object{"token": []byte(token), "namespace": []byte(namespace)},
	})
}

// keysOf has the API server publish something else than its keys.
func (a *api) keysOf(body func(w io.Writer)) {
	hostile := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { body(w) })
	a.jwks.Store(&hostile)
}

func huge(bits int) string { return new(big.Int).Lsh(big.NewInt(1), uint(bits)).Text(62) }
