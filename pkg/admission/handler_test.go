package admission

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/facts/manifest"
	"tokenward.dev/tokenward/pkg/intake"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/source"
	"tokenward.dev/tokenward/pkg/workload"
)

type sourceFunc func(ctx context.Context, needs func(*facts.Set) []facts.Query) *facts.Set

func (f sourceFunc) Gather(ctx context.Context, _ time.Time, needs func(*facts.Set) []facts.Query) *facts.Set {
	return f(ctx, needs)
}

type fixed struct{ snapshot *policy.Snapshot }

func (f fixed) Snapshot() *policy.Snapshot { return f.snapshot }

// newHandler judges against an empty cluster by the defaults.
func newHandler(t testing.TB) *Handler {
	t.Helper()
	cluster := &manifest.Cluster{}
	return &Handler{Decode: Pods, Endpoint: Endpoint{
		Path:     "/validate/pods",
		Policies: fixed{policy.NewSnapshot(policy.Checks(), nil, policy.Options{})},
		Source: sourceFunc(func(_ context.Context, needs func(*facts.Set) []facts.Query) *facts.Set {
			return source.Answer(cluster, time.Time{}, needs)
		}),
		Ready:   func() bool { return true },
		Gate:    intake.New(intake.Limits{Bytes: intake.DefaultBytes, Reviews: intake.DefaultReviews}),
		Now:     time.Now,
		Metrics: metrics.New(),
		Log:     logr.Discard(),
	}}
}

func capture(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func post(h http.Handler, body io.Reader) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/validate/pods?timeout=5s", body))
	return w
}

const missing = "validate-pod-3-containers-one-secret-missing.json"

func TestHandlerAnswersAReviewOfARealAPIServer(t *testing.T) {
	h := newHandler(t)
	w := post(h, strings.NewReader(string(capture(t, missing))))
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	r := review.Response
	if w.Code != http.StatusOK || review.APIVersion != "admission.k8s.io/v1" || review.Kind != "AdmissionReview" || r == nil ||
		r.UID == "" || !r.Allowed || len(r.Warnings) == 0 || r.AuditAnnotations["findings"] == "" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if n := testutil.ToFloat64(h.Metrics.Reviews.WithLabelValues("/validate/pods", "Pod", "CREATE", "warn")); n != 1 {
		t.Errorf("tokenward_reviews_total: got %v, want 1", n)
	}
}

func TestHandlerRefusesWhatItDoesNotUnderstand(t *testing.T) {
	tests := []struct {
		name, body string
		code       int
		want       string
	}{
		{"no JSON", "<html>", http.StatusBadRequest, "not an AdmissionReview"},
		{"an empty body", "", http.StatusBadRequest, "not an AdmissionReview"},
		{"another version", `{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"1"}}`, http.StatusBadRequest, `expected apiVersion "admission.k8s.io/v1"`},
		{"another kind", `{"apiVersion":"admission.k8s.io/v1","kind":"Pod"}`, http.StatusBadRequest, `found "admission.k8s.io/v1" and "Pod"`},
		{"no request", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, http.StatusBadRequest, "has no request"},
		{"no uid", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}`, http.StatusBadRequest, "has no uid"},
		{"too large, without a uid to answer", `{"a":"` + strings.Repeat("x", intake.MaxBody) + `"}`, http.StatusRequestEntityTooLarge, "larger than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := post(newHandler(t), strings.NewReader(tt.body))
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.code, tt.want)
			}
		})
	}
}

// endless is a body that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestHandlerDoesNotReadAnEndlessBody(t *testing.T) {
	if w := post(newHandler(t), endless{}); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestHandlerRefusesABodyThatIsShorterThanAnnounced(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/validate/pods", strings.NewReader("{}"))
	r.ContentLength = 100
	w := httptest.NewRecorder()
	newHandler(t).ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "could not be read") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestHandlerAnswers503BeforeItIsReady(t *testing.T) {
	h := newHandler(t)
	h.Ready = func() bool { return false }
	if w := post(h, strings.NewReader(string(capture(t, missing)))); w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestHandlerTakesOnlyPost(t *testing.T) {
	w := httptest.NewRecorder()
	newHandler(t).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/validate/pods", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("got %d", w.Code)
	}
}

func TestHandlerContainsPanics(t *testing.T) {
	h := newHandler(t)
	h.Source = sourceFunc(func(context.Context, func(*facts.Set) []facts.Query) *facts.Set { panic("boom") }) //nolint:forbidigo // on purpose
	logged := ""
	h.Log = funcr.New(func(_, line string) { logged += line }, funcr.Options{})
	w := post(h, strings.NewReader(string(capture(t, missing))))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	// What a panic carries may be a part of the object.
	if !strings.Contains(logged, "panic with a string") || strings.Contains(logged, "boom") {
		t.Errorf("logged %s", logged)
	}
	if n := testutil.ToFloat64(h.Metrics.Reviews.WithLabelValues("/validate/pods", "Pod", "CREATE", "error")); n != 1 {
		t.Errorf("outcome error: got %v, want 1", n)
	}
}

func TestLookUpsEndWhenTheClientGoes(t *testing.T) {
	h := newHandler(t)
	gone, leave := context.WithCancel(t.Context())
	h.Source = sourceFunc(func(ctx context.Context, needs func(*facts.Set) []facts.Query) *facts.Set {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the look-ups have no deadline")
		}
		leave()
		<-ctx.Done()
		return source.Answer(&manifest.Cluster{}, time.Time{}, needs)
	})
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/validate/pods", strings.NewReader(string(capture(t, missing))))
	h.ServeHTTP(w, r.WithContext(gone))
	if n := testutil.ToFloat64(h.Metrics.Reviews.WithLabelValues("/validate/pods", "Pod", "CREATE", "gone")); n != 1 || w.Body.Len() != 0 {
		t.Errorf("outcome gone: got %v, want 1; body %q", n, w.Body)
	}
}

func TestHandlerCapsTheAction(t *testing.T) {
	h := newHandler(t)
	policies, err := policy.NewCompiler(policy.Checks()).Parse("p", []byte(`{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: p}, spec: {checks: [{name: secret-exists, action: Deny}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	h.Policies = fixed{policy.NewSnapshot(policy.Checks(), policies, policy.Options{})}
	for most, want := range map[v1alpha1.Action]string{v1alpha1.Deny: `"allowed":false`, v1alpha1.Warn: `"allowed":true`} {
		h.AtMost = most
		if w := post(h, strings.NewReader(string(capture(t, missing)))); !strings.Contains(w.Body.String(), want) {
			t.Errorf("at most %s: got %s", most, w.Body)
		}
	}
}

func TestGatherBudgetLeavesASecondOfTheTimeout(t *testing.T) {
	for timeout, want := range map[string]struct{ intake, gather time.Duration }{
		"": {7 * time.Second, 2 * time.Second}, "nonsense": {7 * time.Second, 2 * time.Second}, "-1s": {7 * time.Second, 2 * time.Second},
		"30s": {27 * time.Second, 2 * time.Second}, "1h": {27 * time.Second, 2 * time.Second}, "5s": {2 * time.Second, 2 * time.Second},
		"3s": {750 * time.Millisecond, 2 * time.Second}, "2s": {500 * time.Millisecond, time.Second}, "1s": {250 * time.Millisecond, 500 * time.Millisecond},
	} {
		d := granted(httptest.NewRequest(http.MethodPost, "/validate/pods?timeout="+timeout, nil))
		if got := intakeBudget(d); got != want.intake {
			t.Errorf("timeout=%q: %s for the intake, want %s", timeout, got, want.intake)
		}
		if got := gatherBudget(d); got != want.gather {
			t.Errorf("timeout=%q: %s for look-ups, want %s", timeout, got, want.gather)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{missing, "mutate-pod-generatename.json", "validate-pod-3-containers-all-secrets-exist.json"} {
		f.Add(capture(f, name))
	}
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"kind":"Pod"},"operation":"UPDATE","object":{"spec":null},"oldObject":{}}}`))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"group":"apps","kind":"Deployment"},"resource":{"group":"apps","resource":"deployments"},"operation":"UPDATE","object":{"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":{"spec":{"volumes":[{"secret":{"secretName":"a"}}]}}}},"oldObject":{"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":7}}}}`))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"group":"tokenward.dev","kind":"TokenPolicy"},"operation":"CREATE","object":{"metadata":{"name":"p"},"spec":{"matchConditions":[{"name":"c","expression":"true"}],"exemptions":[{"name":"e"}]}}}}`))
	compiler := policy.NewCompiler(policy.Checks())
	policies, err := compiler.Parse("p", []byte(`{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: p}, spec: {checks: [{name: secret-exists, action: Deny, onUnknown: Deny}], matchConditions: [{name: c, expression: "object.spec.containers.all(c, has(c.image)) || oldObject == null"}], mutate: {serviceAccount: {name: default, when: Always}, automountServiceAccountToken: false, longLivedTokenVolumes: {project: ExistingOrMissing}, recordAnnotation: true}}}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		pods, workloads := newHandler(t), newHandler(t)
		pods.Policies = fixed{policy.NewSnapshot(policy.Checks(), policies, policy.Options{})}
		workloads.Policies, workloads.Decode = pods.Policies, Workloads(workload.BuiltinTemplates())
		answersWell(t, post(pods, strings.NewReader(string(body))), policy.MaxMessage)
		answersWell(t, post(workloads, strings.NewReader(string(body))), policy.MaxMessage)
		mutate := &MutateHandler{Endpoint: pods.Endpoint}
		answersWell(t, post(mutate, strings.NewReader(string(body))), policy.MaxMessage)
		// An error of a policy may name values that are long.
		policies := &PolicyHandler{Compiler: compiler, Endpoint: Endpoint{Gate: pods.Gate, Now: time.Now, Metrics: pods.Metrics, Log: pods.Log}}
		answersWell(t, post(policies, strings.NewReader(string(body))), len(body)+4096)
	})
}

func answersWell(t *testing.T, w *httptest.ResponseRecorder, longest int) {
	switch w.Code {
	case http.StatusBadRequest:
	case http.StatusOK:
		var review admissionv1.AdmissionReview
		if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || review.Response == nil {
			t.Errorf("%v: %s", err, w.Body)
		}
		for _, line := range review.Response.Warnings {
			if len(line) > longest || strings.ContainsAny(line, "\n\r") {
				t.Errorf("a warning that is too long, or has a line break: %q", line)
			}
		}
	default:
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}
