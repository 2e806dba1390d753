package admission

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/intake"
	"tokenward.dev/tokenward/pkg/policy"
)

// denying is a policy that denies something, somewhere.
const denying = `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: p}, spec: {match: {podSelector: {matchLabels: {a: b}}}, checks: [{name: secret-exists, action: Deny}]}}`

func snapshotOf(t testing.TB, text string, options policy.Options) fixed {
	t.Helper()
	policies, err := policy.NewCompiler(policy.Checks()).Parse("p", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return fixed{policy.NewSnapshot(policy.Checks(), policies, options)}
}

func reviewOf(kind, operation, object string) string {
	return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"kind":"` + kind +
		`"},"namespace":"shop","operation":"` + operation + `","object":` + object + `}}`
}

func TestWhatCantBeJudgedIsNoWayRoundDeny(t *testing.T) {
	volumes := `{"spec":{"volumes":[` + strings.Repeat("{},", 430_000) + `{}]}}`
	long := `{"metadata":{"annotations":{"a":"` + strings.Repeat("x", intake.MaxBody) + `"}}}`
	warning := strings.Replace(denying, "Deny", "Warn", 1)
	templates := strings.Replace(denying, "spec: {", "spec: {templateAction: Deny, ", 1)
	tests := []struct {
		name, policy  string
		options       policy.Options
		atMost        v1alpha1.Action
		kind, op      string
		object        string
		allowed       bool
		message, warn string
	}{
		{"430,000 volumes where a policy denies", denying, policy.Options{}, v1alpha1.Deny, "Pod", "CREATE", volumes, false, "this Pod is too large to be judged: spec.volumes has 430001 elements: make it smaller", ""},
		{"a body that is too large", denying, policy.Options{}, v1alpha1.Deny, "Pod", "UPDATE", long, false, "the body is larger than 20971520 bytes", ""},
		{"where the strongest action is left out", denying, policy.Options{}, "", "Pod", "CREATE", volumes, false, "too large", ""},
		{"where no policy denies", warning, policy.Options{}, v1alpha1.Deny, "Pod", "CREATE", volumes, true, "", "this Pod is too large and was not judged: spec.volumes has 430001 elements"},
		{"where nothing is denied at all", denying, policy.Options{DryRun: true}, v1alpha1.Deny, "Pod", "CREATE", volumes, true, "", "was not judged"},
		{"in a namespace that is not judged", denying, policy.Options{Namespaces: []string{"other"}}, v1alpha1.Deny, "Pod", "CREATE", volumes, true, "", "was not judged"},
		{"in kube-system, by the path for warnings", denying, policy.Options{}, v1alpha1.Warn, "Pod", "CREATE", volumes, true, "", "was not judged"},
		{"a template, which is only warned about", denying, policy.Options{}, v1alpha1.Deny, "Deployment", "CREATE", volumes, true, "", "this Deployment is too large"},
		{"a template where templates are denied", templates, policy.Options{}, v1alpha1.Deny, "Deployment", "CREATE", volumes, false, "this Deployment is too large", ""},
		{"a deletion", denying, policy.Options{}, v1alpha1.Deny, "Pod", "DELETE", volumes, true, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHandler(t)
			h.Policies, h.AtMost = snapshotOf(t, tt.policy, tt.options), tt.atMost
			w := post(h, strings.NewReader(reviewOf(tt.kind, tt.op, tt.object)))
			var review admissionv1.AdmissionReview
			if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			r := review.Response
			if r.UID != "u" || r.Allowed != tt.allowed || (tt.warn == "") != (len(r.Warnings) == 0) {
				t.Errorf("got %s", w.Body)
			}
			if !r.Allowed && (r.Result.Code != http.StatusRequestEntityTooLarge || !strings.Contains(r.Result.Message, tt.message)) {
				t.Errorf("got %+v, want %q", r.Result, tt.message)
			}
			if len(r.Warnings) > 0 && !strings.Contains(r.Warnings[0], tt.warn) {
				t.Errorf("got %q, want %q", r.Warnings, tt.warn)
			}
			if n := testutil.ToFloat64(h.Metrics.RequestsRefused.WithLabelValues("too_large")); n != 1 {
				t.Errorf("tokenward_requests_refused_total: %v", n)
			}
		})
	}
}

func TestAReviewWhoseTurnDoesNotComeIsRefusedForNow(t *testing.T) {
	h := newHandler(t)
	h.Gate = intake.New(intake.Limits{Bytes: intake.DefaultBytes, Reviews: 1})
	visit, err := h.Gate.Enter(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", http.NoBody), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer visit.Leave()
	if err := visit.Admit(1); err != nil {
		t.Fatal(err)
	}
	ask := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/validate/pods?timeout=100ms", strings.NewReader(reviewOf("Pod", "CREATE", "{}"))))
		return w
	}
	if w := ask(); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "no room for one more review") {
		t.Errorf("where no policy denies: got %d %s", w.Code, w.Body)
	}
	h.Policies = snapshotOf(t, denying, policy.Options{})
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(ask().Body.Bytes(), &review); err != nil {
		t.Fatal(err)
	}
	if r := review.Response; r.Allowed || r.Result.Code != http.StatusTooManyRequests || r.Result.Details.RetryAfterSeconds != 1 || r.AuditAnnotations[unjudgedAnnotation] != "busy" ||
		r.Result.Message != "this Pod can't be judged just now: there was no room for one more review in time: try again" {
		t.Errorf("got %+v", r)
	}
	if n := testutil.ToFloat64(h.Metrics.Reviews.WithLabelValues("/validate/pods", "other", "CREATE", "busy")); n != 2 {
		t.Errorf("outcome busy: %v", n)
	}
}

func TestOtherPathsAnswerWhatIsTooLarge(t *testing.T) {
	base := newHandler(t).Endpoint
	body := reviewOf("Pod", "CREATE", `{"spec":{"volumes":[`+strings.Repeat("{},", 430_000)+`{}]}}`)
	for name, tt := range map[string]struct {
		handler http.Handler
		want    string
	}{
		"changes of pods":   {&MutateHandler{Endpoint: base}, `"allowed":true`},
		"policies":          {&PolicyHandler{Endpoint: base}, `"allowed":false`},
		"without a verdict": {&PolicyHandler{Endpoint: base}, "elements"},
	} {
		if w := post(tt.handler, strings.NewReader(body)); !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s: got %d %s", name, w.Code, w.Body)
		}
	}
}
