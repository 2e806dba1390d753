package harness

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Asker sends reviews to the webhook itself, as an API server does.
type Asker struct {
	URL    string
	TLS    *tls.Config
	Client *http.Client
}

// Asker returns what asks this process about pods.
func (s *Server) Asker(t *testing.T) *Asker {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CA)
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	a := &Asker{
		URL: "https://127.0.0.1:" + strconv.Itoa(s.Port) + "/validate/pods?timeout=5s", TLS: config,
		Client: &http.Client{Transport: &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 25}, Timeout: Patience},
	}
	t.Cleanup(a.Client.CloseIdleConnections)
	return a
}

// ReviewBody is a review of a pod in the namespace default.
func ReviewBody(t testing.TB, p *corev1.Pod) []byte {
	t.Helper()
	return ReviewBodyIn(t, metav1.NamespaceDefault, p)
}

// ReviewBodyIn is a review of a pod in a namespace.
func ReviewBodyIn(t testing.TB, namespace string, p *corev1.Pod) []byte {
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

// Ask sends a review, and returns the answer.
func (a *Asker) Ask(ctx context.Context, body []byte) (*admissionv1.AdmissionResponse, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := a.Client.Do(request)
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
