package main

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/reference"
)

// fakeAPI is an API server with any number of objects, for the measurements
// that are about the webhook alone: it lists and watches them, and knows only
// the Secrets that the allowed pod needs.
type fakeAPI struct {
	*httptest.Server
	holds
	kubeconfig string
	statuses   atomic.Int64 // how many a webhook wrote
	requests   atomic.Int64 // of any kind
}

// holds is what is in an API server besides what the reviews need.
type holds struct {
	secrets    int
	namespaces int
	policies   []string // whole, in JSON
	tokens     *issuer  // its token Secrets, keys and certificate; nil for none, but for keys
}

func newFakeAPI(dir string, what holds) (*fakeAPI, error) {
	f := &fakeAPI{holds: what}
	secure := f.tokens != nil
	if !secure {
		var err error
		if f.tokens, err = newIssuer(0); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/{resource}", f.collection)
	mux.HandleFunc("GET /apis/tokenward.dev/v1alpha1/{resource}", f.collection)
	mux.HandleFunc("GET /api/v1/namespaces/{name}", f.namespace)
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/{resource}/{name}", f.object)
	mux.HandleFunc("PATCH /apis/tokenward.dev/v1alpha1/tokenpolicies/{name}/status", func(w http.ResponseWriter, r *http.Request) {
		f.statuses.Add(1)
		notFound(w, "tokenpolicies", r.PathValue("name"))
	})
	mux.HandleFunc("GET /.well-known/openid-configuration", f.tokens.discovery)
	mux.HandleFunc("GET /openid/v1/jwks", f.tokens.keys)
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.Add(1)
		mux.ServeHTTP(w, r)
	}))
	authority := ""
	if !secure {
		f.Start()
	} else {
		f.EnableHTTP2, f.TLS = true, &tls.Config{Certificates: []tls.Certificate{*f.tokens.certificate}, MinVersion: tls.VersionTLS12}
		f.StartTLS()
		authority = ", certificate-authority-data: " + base64.StdEncoding.EncodeToString(f.tokens.ca)
	}
	file, err := os.CreateTemp(dir, "kubeconfig-")
	if err != nil {
		return nil, err
	}
	f.kubeconfig = file.Name()
	_, err = file.WriteString(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: "` + f.URL + `"` + authority + `}}]}`)
	return f, errors.Join(err, file.Close())
}

// object answers a read of one Secret, ConfigMap or ServiceAccount.
func (f *fakeAPI) object(w http.ResponseWriter, r *http.Request) {
	resource, name := r.PathValue("resource"), r.PathValue("name")
	if s := f.tokens.find(r.PathValue("namespace"), name); resource == "secrets" && s != nil {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, s.whole)
		return
	}
	kind, n := "Secret", 1
	switch {
	case resource == "secrets" && (slices.Contains(neededSecrets(), name) || slices.Contains(otherNames(), name)):
	case resource == "configmaps" && name == "kube-root-ca.crt":
		kind = "ConfigMap"
	case resource == "serviceaccounts" && name == "default":
		kind = "ServiceAccount"
	case resource == "serviceaccounts" && name == robot:
		kind, n = "ServiceAccount", robotUID
	default:
		notFound(w, resource, name)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"apiVersion":"v1","kind":"%s","metadata":{"namespace":"%s","name":"%s","uid":"%s","resourceVersion":"%d"},"data":%s}`,
		kind, r.PathValue("namespace"), name, uid(n), n, allKeys())
}

// namespace answers a read of one Namespace.
func (f *fakeAPI) namespace(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	i, err := strconv.Atoi(strings.TrimPrefix(name, "team-"))
	if err != nil || i < 0 || i >= max(f.namespaces, 1) {
		notFound(w, "namespaces", name)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, namespaceJSON(i))
}

func notFound(w http.ResponseWriter, resource, name string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	_, _ = fmt.Fprintf(w, `{"apiVersion":"v1","kind":"Status","status":"Failure","reason":"NotFound","code":404,"details":{"name":"%s","kind":"%s"}}`, name, resource)
}

// lastVersion is later than that of any object.
const lastVersion = 1_000_000

// tokenSecrets stands for the Secrets that are selected by type and asked for
// whole.
const tokenSecrets = "token secrets"

// collection answers a list or a watch.
func (f *fakeAPI) collection(w http.ResponseWriter, r *http.Request) {
	resource := r.PathValue("resource")
	if resource == "secrets" && r.URL.Query().Get("fieldSelector") != "" {
		resource = tokenSecrets
	}
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("watch") != "" {
		f.watch(w, r, resource)
		return
	}
	f.list(w, r, resource)
}

// list answers a list, page by page if that is asked for: a continue token says
// how many objects the client has.
func (f *fakeAPI) list(w http.ResponseWriter, r *http.Request, resource string) {
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	apiVersion, kind := typeOf(resource)
	_, _ = fmt.Fprintf(w, `{"apiVersion":"%s","kind":"%sList","items":[`, apiVersion, kind)
	i, separator, next := 0, "", ""
	for o := range f.objects(resource) {
		if limit > 0 && i == from+limit {
			next = strconv.Itoa(i)
			break
		}
		if i >= from {
			_, _ = io.WriteString(w, separator)
			_, _ = io.WriteString(w, o)
			separator = ","
		}
		i++
	}
	_, _ = fmt.Fprintf(w, `],"metadata":{"resourceVersion":"%d","continue":"%s"}}`, lastVersion, next)
}

// watch streams what there is, to a client that has not listed it before, and
// then a bookmark now and again.
func (f *fakeAPI) watch(w http.ResponseWriter, r *http.Request, resource string) {
	send := func(event, object string) { _, _ = fmt.Fprintf(w, `{"type":"%s","object":%s}`+"\n", event, object) }
	query := r.URL.Query()
	initial := query.Get("sendInitialEvents") == "true"
	if version := query.Get("resourceVersion"); initial || version == "" || version == "0" {
		for o := range f.objects(resource) {
			send("ADDED", o)
		}
	}
	annotations := ""
	if initial {
		annotations = `,"annotations":{"k8s.io/initial-events-end":"true"}`
	}
	apiVersion, kind := typeOf(resource)
	for n := lastVersion; ; n++ {
		send("BOOKMARK", fmt.Sprintf(`{"apiVersion":"%s","kind":"%s","metadata":{"resourceVersion":"%d"%s}}`, apiVersion, kind, n, annotations))
		annotations = ""
		if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(30 * time.Second):
		}
	}
}

// typeOf returns apiVersion and kind of what a watch sends: of Secrets and the
// like the webhook asks for the metadata alone.
func typeOf(resource string) (apiVersion, kind string) {
	switch resource {
	case "namespaces":
		return "v1", "Namespace"
	case tokenSecrets:
		return "v1", "Secret"
	case v1alpha1.TokenPolicyResource:
		return v1alpha1.GroupVersion.String(), v1alpha1.TokenPolicyKind
	}
	return "meta.k8s.io/v1", "PartialObjectMetadata"
}

// objects yields all objects of a resource.
func (f *fakeAPI) objects(resource string) iter.Seq[string] {
	return func(yield func(string) bool) {
		switch resource {
		case "secrets":
			f.allSecrets(yield)
		case tokenSecrets:
			f.tokens.each(func(s *tokenSecret) bool { return yield(s.whole) })
		case "configmaps":
			yield(metadata(reviewNamespace, "kube-root-ca.crt", 1))
		case "serviceaccounts":
			if yield(metadata(reviewNamespace, "default", 1)) {
				yield(metadata(reviewNamespace, robot, robotUID))
			}
		case "namespaces":
			for i := range max(f.namespaces, 1) { // the first is reviewNamespace
				if !yield(namespaceJSON(i)) {
					return
				}
			}
		case v1alpha1.TokenPolicyResource:
			for _, p := range f.policies {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// allSecrets yields the metadata of all Secrets, until yield says no.
func (f *fakeAPI) allSecrets(yield func(string) bool) {
	for _, s := range slices.Concat(neededSecrets(), otherNames()) {
		if !yield(metadata(reviewNamespace, s, 1)) {
			return
		}
	}
	for i := range f.secrets {
		if !yield(metadata(fmt.Sprintf("team-%d", i%200), fmt.Sprintf("app-%d-credentials-%d", i%500, i), 2+i)) {
			return
		}
	}
	f.tokens.each(func(s *tokenSecret) bool { return yield(metadata(s.namespace, s.name, s.n)) })
}

// metadata is all that a webhook sees of most objects. n makes uid and version.
func metadata(namespace, name string, n int) string {
	return fmt.Sprintf(`{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"namespace":"%s","name":"%s","uid":"%s","resourceVersion":"%d"}}`,
		namespace, name, uid(n), n)
}

// squads are the teams that share the namespaces.
const squads = 500

// namespaceJSON is a whole Namespace, with the labels that policies select by.
func namespaceJSON(i int) string {
	name := fmt.Sprintf("team-%d", i)
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"%s","uid":"%s","resourceVersion":"%d",`+
		`"creationTimestamp":"2026-01-01T00:00:00Z","labels":{"kubernetes.io/metadata.name":"%s","team":"squad-%d","environment":"%s",`+
		`"pod-security.kubernetes.io/enforce":"baseline"},"annotations":{"example.com/cost-centre":"%d"}},`+
		`"spec":{"finalizers":["kubernetes"]},"status":{"phase":"Active"}}`,
		name, uid(1+i), 1+i, name, i%squads, []string{"production", "staging", "sandbox"}[i%3], 4000+i%squads)
}

func uid(n int) string { return fmt.Sprintf("%08x-0c11-4a53-9a8e-2f0f3d0c9a11", n) }

func captured(name string) []byte {
	body, err := os.ReadFile(filepath.Join("pkg", "admission", "testdata", name))
	if err != nil {
		_, _ = io.WriteString(os.Stderr, "bench: run it from the top of the project: "+err.Error()+"\n")
		os.Exit(1)
	}
	return body
}

func allowBody() []byte { return captured("validate-pod-3-containers-all-secrets-exist.json") }

func denyBody() []byte { return captured("validate-pod-3-containers-one-secret-missing.json") }

const reviewNamespace = "team-0"

// needed are the Secrets in the review that is allowed, as Tokenward sees them.
func needed() []reference.Reference {
	var review struct {
		Request struct{ Object corev1.Pod }
	}
	if err := json.Unmarshal(allowBody(), &review); err != nil {
		return nil
	}
	return slices.DeleteFunc(reference.OfPod("", &review.Request.Object.Spec), func(r reference.Reference) bool { return r.Kind != reference.Secret })
}

func neededSecrets() []string {
	var names []string
	for _, r := range needed() {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// allKeys is the data of an object that has every key that is asked for.
func allKeys() string {
	keys := map[string]string{"ca.crt": "eA=="}
	for _, r := range needed() {
		for _, k := range r.Keys {
			keys[k.Name] = "eA=="
		}
	}
	text, err := json.Marshal(keys)
	if err != nil {
		return "{}"
	}
	return string(text)
}
