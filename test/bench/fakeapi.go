package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/reference"
)

// fakeAPI is an API server with any number of Secrets, for the measurements
// that are about the webhook alone: it streams metadata as a watch with initial
// events does, and knows only the Secrets that the allowed pod needs.
type fakeAPI struct {
	*httptest.Server
	kubeconfig string
	secrets    int
}

func newFakeAPI(dir string, secrets int) (*fakeAPI, error) {
	f := &fakeAPI{secrets: secrets, kubeconfig: filepath.Join(dir, fmt.Sprintf("kubeconfig-%d", secrets))}
	f.Server = httptest.NewServer(f)
	config := `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: "` + f.URL + `"}}]}`
	return f, os.WriteFile(f.kubeconfig, []byte(config), 0o600)
}

// ServeHTTP implements http.Handler.
func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("watch") != "" {
		f.watch(w, r)
		return
	}
	name := filepath.Base(r.URL.Path)
	namespace := strings.Split(r.URL.Path, "/")[4]
	for _, s := range neededSecrets() {
		if strings.HasSuffix(r.URL.Path, "/secrets/"+s) || name == "kube-root-ca.crt" {
			_, _ = fmt.Fprintf(w, `{"apiVersion":"v1","kind":"%s","metadata":{"namespace":"%s","name":"%s","uid":"%s","resourceVersion":"1"},"data":%s}`,
				map[bool]string{true: "Secret", false: "ConfigMap"}[strings.Contains(r.URL.Path, "/secrets/")], namespace, name, uid(1), allKeys())
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
	_, _ = fmt.Fprintf(w, `{"apiVersion":"v1","kind":"Status","status":"Failure","reason":"NotFound","code":404,"details":{"name":"%s","kind":"secrets"}}`, name)
}

func (f *fakeAPI) watch(w http.ResponseWriter, r *http.Request) {
	send := func(kind, namespace, name string, n int, annotations string) {
		_, _ = fmt.Fprintf(w, `{"type":"%s","object":{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"namespace":"%s","name":"%s","uid":"%s","resourceVersion":"%d"%s}}}`+"\n",
			kind, namespace, name, uid(n), n, annotations)
	}
	switch resource := filepath.Base(r.URL.Path); resource {
	case "secrets":
		for _, s := range neededSecrets() {
			send("ADDED", reviewNamespace, s, 1, "")
		}
		for i := range f.secrets {
			send("ADDED", fmt.Sprintf("team-%d", i%200), fmt.Sprintf("app-%d-credentials-%d", i%500, i), 2+i, "")
		}
	case "configmaps":
		send("ADDED", reviewNamespace, "kube-root-ca.crt", 1, "")
	case "serviceaccounts":
		send("ADDED", reviewNamespace, "default", 1, "")
	case "namespaces":
		send("ADDED", "", reviewNamespace, 1, "")
	}
	for n := 1_000_000; ; n++ {
		send("BOOKMARK", "", "", n, `,"annotations":{"k8s.io/initial-events-end":"true"}`)
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
