package verdicts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/admission"
	"tokenward.dev/tokenward/pkg/intake"
	"tokenward.dev/tokenward/pkg/inventory"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// corpusServer is the webhook in the test's process, so that each case can
// have policies and a time of its own.
type corpusServer struct {
	mu       sync.Mutex
	handlers map[string]http.Handler // by namespace
	base     admission.Handler
}

func newCorpusServer(t *testing.T) *corpusServer {
	t.Helper()
	m := metrics.New()
	inv, err := inventory.New(env.Standard.Config, inventory.Options{}, m, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = inv.Start(ctx) }()
	t.Cleanup(func() { stop(); <-stopped })
	s := &corpusServer{handlers: map[string]http.Handler{}, base: admission.Handler{Endpoint: admission.Endpoint{
		Source: inv, Ready: inv.Synced, Metrics: m, Log: logr.Discard(),
		Gate: intake.New(intake.Limits{Bytes: intake.DefaultBytes, Reviews: intake.DefaultReviews}),
	}, Access: everybody{}}}
	url, ca := harness.ServeTLS(t, s)
	err = cluster.Eventually(t.Context(), harness.Patience, func(context.Context) error {
		if !inv.Synced() {
			return errors.New("the index is not complete")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	env.RegisterAt(t, url, ca, metav1.LabelSelectorRequirement{Key: "corpus", Operator: metav1.LabelSelectorOpExists})
	s.waitAsked(t)
	return s
}

// everybody may read all Secrets, as in the cases.
type everybody struct{}

func (everybody) MayReadSecrets(context.Context, *authenticationv1.UserInfo, string) bool {
	return true
}

// ServeHTTP sends a review to the case whose namespace it is about.
func (s *corpusServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil || review.Request == nil {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	h := s.handlers[review.Request.Namespace]
	s.mu.Unlock()
	if h == nil { // what a case needs is being made
		_ = json.NewEncoder(w).Encode(&admissionv1.AdmissionReview{
			TypeMeta: review.TypeMeta, Response: &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true},
		})
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	h.ServeHTTP(w, r)
}

// waitAsked waits until the API server knows the webhook.
func (s *corpusServer) waitAsked(t *testing.T) {
	t.Helper()
	ns := "corpus-probe"
	makeNamespace(t, t, metav1.ObjectMeta{Name: ns})
	asked := make(chan struct{}, 1)
	s.arm(ns, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		http.Error(w, "probe", http.StatusTeapot)
	}))
	err := cluster.Eventually(t.Context(), harness.Patience, func(ctx context.Context) error {
		_, _ = env.Client.CoreV1().Pods(ns).Create(ctx, harness.Pod("probe"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		select {
		case <-asked:
			return nil
		default:
			return errors.New("not asked")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *corpusServer) arm(namespace string, h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[namespace] = h
}
