package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/admission"
	"tokenward.dev/tokenward/pkg/cases"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/inventory"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/policysource"
	"tokenward.dev/tokenward/pkg/servingcert"
	"tokenward.dev/tokenward/pkg/workload"
	"tokenward.dev/tokenward/test/cluster"
)

// X6: the corpus gives the same verdicts end to end as it does in the library.
// Each case gets a namespace of its own, in which its cluster is made; its
// request goes to the real API server, which asks the webhook, which looks
// into the live inventory.
func TestCorpusEndToEnd(t *testing.T) {
	corpus := filepath.Join(cluster.Root(), "test", "cases")
	all, err := cases.Load(corpus)
	if err != nil {
		t.Fatal(err)
	}
	server := newCorpusServer(t)
	installClasses(t)
	bundles := bundlesServed(t)

	skipped := map[string]int{}
	var runs []*corpusRun
	for i, c := range all {
		name, _ := filepath.Rel(corpus, c.Name)
		if why := cannotRun(name, c, bundles); why != "" {
			skipped[why]++
			t.Logf("not run: %s: %s", name, why)
			continue
		}
		runs = append(runs, &corpusRun{name: name, namespace: fmt.Sprintf("corpus-%03d", i), server: server})
	}
	top := t
	t.Run("prepare", func(t *testing.T) {
		for _, r := range runs {
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				r.prepareIn(t, top, corpus)
			})
		}
	})
	// Policies are of the whole cluster, so that the cases come one by one.
	for _, r := range runs {
		t.Run("requests/"+r.name, func(t *testing.T) { r.request(t) })
	}
	events := readAuditLog(t, runs)
	for _, r := range runs {
		t.Run("verdicts/"+r.name, func(t *testing.T) { r.compare(t, events) })
	}
	if could := len(all) - skipped[ofOtherKeys] - skipped[ofMutation]; len(runs)*100 < could*60 {
		t.Errorf("only %d of %d cases ran end to end", len(runs), could)
	}
	t.Logf("%d of %d cases ran end to end; not run: %v", len(runs), len(all), skipped)
}

// cannotRun says why a case can't be put to a real API server, or "".
func cannotRun(name string, c *cases.Case, bundles bool) string {
	r := &c.File.Request
	var kind metav1.TypeMeta
	_ = json.Unmarshal(r.Object, &kind)
	byName := map[string]string{
		"rules/mirror-pod.yaml":                                         "the API server refuses mirror pods that use Secrets",
		"rules/mirror-annotation-may-be-empty.yaml":                     "the API server refuses mirror pods that use Secrets",
		"rules/empty-names-point-nowhere.yaml":                          "the API server refuses empty names",
		"rules/update-moves-a-reference.yaml":                           "the API server lets nobody change a pod's volumes",
		"rules/update-makes-a-reference-required.yaml":                  "the API server lets nobody change a pod's volumes",
		"rules/update-of-a-pod-that-is-being-deleted.yaml":              "the API server lets nobody change a pod's volumes",
		"service-account-exists/pods-are-the-api-servers-business.yaml": "the API server refuses the pod itself",
		"secret-exists/cluster-may-be-a-list.yaml":                      "an API server takes no lists",
		"token-default-account/template-whose-account-says-no.yaml":     "every namespace has its account already",
		"token-default-account/template-against-its-account.yaml":       "every namespace has its account already",
		"token-own-account/default-token-of-a-default-pod.yaml":         "its token names another namespace",
		"token-own-account/opaque-own.yaml":                             "its token names another namespace",
		"token-own-account/own.yaml":                                    "its token names another namespace",
		"secret-exists/replacement-goes-by-the-annotation.yaml":         "it is about kube-system, which is not enforced upon",
		"token-in-environment/optional-and-empty.yaml":                  "the token controller fills the Secret",
		"templates/no-template.yaml":                                    "the API server refuses the object itself",
		"secret-key-exists/empty-key-is-no-key.yaml":                    "the API server refuses empty keys",
		"matching/deprecated-account-field.yaml":                        "the API server wants the account to exist",
	}
	check, _, _ := strings.Cut(name, "/")
	switch {
	case c.File.Phase == "mutate":
		return ofMutation
	case byName[name] != "":
		return byName[name]
	case len(c.File.Keys) > 0 || check == "token-valid":
		return ofOtherKeys
	case check == "token-secret-owner" || check == "token-secret-populated" || check == "token-ca-current":
		return "the token controller mends or deletes such Secrets at once"
	case kind.Kind == "Pod" && (check == "token-required" || check == "token-default-account"):
		return "the API server gives the pod a token of its own"
	case kind.Kind == "Pod" && !hasAccount(c):
		return "the API server wants the account to exist"
	case len(c.File.Unknown) > 0:
		return "a single object that can't be looked up"
	case len(c.File.Absent) > 0:
		return "controllers make the object again at once"
	case kind.Kind != "Pod" && (r.Operation != admissionv1.Create || !isWorkload(kind)):
		return "the webhook is not registered for the kind, or the object would have to be made first"
	case r.SubResource != "" && r.SubResource != "ephemeralcontainers":
		return "the webhook is not registered for the subresource"
	case strings.HasPrefix(name, "trust-bundle-exists/") && !bundles:
		return "this API server does not serve ClusterTrustBundles"
	}
	return ""
}

// ofMutation is told of cases whose pods policies change: the API server adds to
// what they expect.
const ofMutation = "what an API server makes of a changed pod is for TestMutationGolden"

// ofOtherKeys is told of cases whose tokens are made for keys beside the case;
// TestVerdictsAgree does the same with tokens of the cluster's own.
const ofOtherKeys = "its tokens are signed by keys that this API server does not have"

// hasAccount reports whether the case's cluster has the account of its pod.
func hasAccount(c *cases.Case) bool {
	var pod corev1.Pod
	if json.Unmarshal(c.File.Request.Object, &pod) != nil || pod.Spec.ServiceAccountName == "" || pod.Spec.ServiceAccountName == "default" {
		return true
	}
	return slices.ContainsFunc(c.File.Cluster, func(m json.RawMessage) bool {
		var o metav1.PartialObjectMetadata
		return json.Unmarshal(m, &o) == nil && (o.Kind == "List" || o.Kind == "ServiceAccount" && o.Name == pod.Spec.ServiceAccountName)
	})
}

func isWorkload(kind metav1.TypeMeta) bool {
	return slices.Contains(workload.BuiltinTemplates().Kinds(), kind.GroupVersionKind().GroupKind())
}

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
	inv, err := inventory.New(standard.config, inventory.Options{}, m, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = inv.Start(ctx) }()
	t.Cleanup(func() { stop(); <-stopped })
	s := &corpusServer{handlers: map[string]http.Handler{}, base: admission.Handler{Endpoint: admission.Endpoint{
		Source: inv, Ready: inv.Synced, Metrics: m, Log: logr.Discard(),
	}}}
	url, ca := serveTLS(t, s)
	err = cluster.Eventually(t.Context(), patience, func(context.Context) error {
		if !inv.Synced() {
			return errors.New("the index is not complete")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	registerAt(t, url, ca, metav1.LabelSelectorRequirement{Key: "corpus", Operator: metav1.LabelSelectorOpExists})
	s.waitAsked(t)
	return s
}

// serveTLS serves with a certificate for 127.0.0.1 until the test ends.
func serveTLS(t *testing.T, handler http.Handler) (url string, ca []byte) {
	t.Helper()
	own, err := servingcert.NewSelfSigned([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := own.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	https := httptest.NewUnstartedServer(handler)
	https.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
	https.StartTLS()
	t.Cleanup(https.Close)
	return https.URL, own.CA()
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
	err := cluster.Eventually(t.Context(), patience, func(ctx context.Context) error {
		_, _ = client.CoreV1().Pods(ns).Create(ctx, pod("probe"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
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

// corpusRun is one case on its way through the API server.
type corpusRun struct {
	name, namespace string
	server          *corpusServer

	c       *cases.Case
	send    func(*rest.Config) error
	verdict policy.Verdict
	done    bool
}

var namespaceWord = regexp.MustCompile(`\bshop\b`)

// prepareIn makes the case's cluster, and the object that it is about.
func (r *corpusRun) prepareIn(t, owner *testing.T, corpus string) {
	text, err := os.ReadFile(filepath.Join(corpus, r.name))
	if err != nil {
		t.Fatal(err)
	}
	// The case in its own namespace, and with cluster-scoped names of its own.
	text = namespaceWord.ReplaceAll(text, []byte(r.namespace))
	for _, word := range []string{"corp", "example.test"} {
		text = regexp.MustCompile(`\b`+regexp.QuoteMeta(word)+`([":/]|\b)`).ReplaceAll(text, []byte(strings.TrimPrefix(r.namespace, "corpus-")+"."+word+"$1"))
	}
	found, err := cases.Parse(r.name, text)
	if err != nil || len(found) != 1 {
		t.Fatalf("%v", err)
	}
	r.c = found[0]
	makeCluster(t, owner, r.namespace, r.c.File.Cluster)
	r.send = r.prepare(t)
}

// usePolicies writes the case's policies to the API server, and answers by what
// a source of policies reads from there. Checks that the case leaves out are
// unknown to it, as after a downgrade.
func (r *corpusRun) usePolicies(t *testing.T) {
	for _, raw := range r.c.File.Policies {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(raw); err != nil {
			t.Fatal(err)
		}
		if _, err := createPolicy(t, u); err != nil {
			t.Fatal(err)
		}
	}
	checks := slices.DeleteFunc(policy.Checks(), func(c policy.Check) bool {
		return len(r.c.File.Checks) > 0 && !slices.Contains(r.c.File.Checks, c.ID)
	})
	source, err := policysource.NewCluster(standard.config, policy.NewCompiler(checks), policy.Options{DryRun: r.c.File.DryRun}, r.server.base.Metrics, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = source.Start(ctx) }()
	t.Cleanup(func() { stop(); <-stopped })
	waitUntil(t, func() error {
		if !source.Synced() || source.Snapshot().Policies() != len(r.c.File.Policies) {
			return errors.New("the policies are not loaded")
		}
		return nil
	})
	pods := r.server.base
	pods.Path, pods.Decode, pods.Policies, pods.Now = "/validate/pods", admission.Pods, source, r.c.Now
	workloads := pods
	workloads.Path, workloads.Decode = "/validate/workloads", admission.Workloads(workload.BuiltinTemplates())
	mux := http.NewServeMux()
	mux.Handle(pods.Path, &pods)
	mux.Handle(workloads.Path, &workloads)
	r.server.arm(r.namespace, mux)
}

// request sends the case's request.
func (r *corpusRun) request(t *testing.T) {
	if r.send == nil {
		t.Skip("it could not be prepared")
	}
	r.usePolicies(t)
	config, seen := warned()
	if user := r.c.File.Request.UserInfo; user.Username != "" {
		config.Impersonate = rest.ImpersonationConfig{UserName: user.Username, Groups: append([]string{"system:masters"}, user.Groups...)}
	}
	err := r.send(config)
	// Controllers may go on with what was made; nobody counts that.
	r.server.arm(r.namespace, nil)
	r.verdict.Allowed = err == nil
	if err != nil {
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "denied the request: ") {
			t.Fatalf("the API server refuses the request itself: %v", err)
		}
		r.verdict.Message = err.Error()
	}
	for _, line := range seen.lines {
		// The API server has warnings of its own, for deprecated fields say.
		id, _, _ := strings.Cut(line, ": ")
		if slices.ContainsFunc(policy.Checks(), func(c policy.Check) bool { return c.ID == id }) {
			r.verdict.Warnings = append(r.verdict.Warnings, line)
		}
	}
	r.done = true
}

// prepare makes the old object and returns the request.
func (r *corpusRun) prepare(t *testing.T) func(*rest.Config) error {
	var kind metav1.TypeMeta
	if err := json.Unmarshal(r.c.File.Request.Object, &kind); err != nil {
		t.Fatal(err)
	}
	options := metav1.CreateOptions{}
	if r.c.File.Request.DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	if kind.Kind != "Pod" {
		return r.prepareWorkload(t, kind)
	}
	var now corev1.Pod
	if err := json.Unmarshal(r.c.File.Request.Object, &now); err != nil {
		t.Fatal(err)
	}
	admissible(&now)
	if r.c.File.Request.Operation != admissionv1.Update {
		return func(as *rest.Config) error {
			_, err := kubernetes.NewForConfigOrDie(as).CoreV1().Pods(r.namespace).Create(context.Background(), &now, options)
			return err
		}
	}
	made := r.makeOld(t)
	made.Labels, made.Finalizers = now.Labels, now.Finalizers
	if r.c.File.Request.SubResource == "ephemeralcontainers" {
		made.Spec.EphemeralContainers = now.Spec.EphemeralContainers
		return func(as *rest.Config) error {
			_, err := kubernetes.NewForConfigOrDie(as).CoreV1().Pods(r.namespace).UpdateEphemeralContainers(context.Background(), made.Name, made, metav1.UpdateOptions{})
			return err
		}
	}
	return func(as *rest.Config) error {
		_, err := kubernetes.NewForConfigOrDie(as).CoreV1().Pods(r.namespace).Update(context.Background(), made, metav1.UpdateOptions{})
		return err
	}
}

// makeOld makes the pod that the request changes.
func (r *corpusRun) makeOld(t *testing.T) *corev1.Pod {
	var old corev1.Pod
	if err := json.Unmarshal(r.c.File.Request.OldObject, &old); err != nil {
		t.Fatal(err)
	}
	admissible(&old)
	ephemeral := old.Spec.EphemeralContainers
	old.Spec.EphemeralContainers = nil
	pods := client.CoreV1().Pods(r.namespace)
	made, err := pods.Create(t.Context(), &old, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(ephemeral) > 0 {
		made.Spec.EphemeralContainers = ephemeral
		if made, err = pods.UpdateEphemeralContainers(t.Context(), made.Name, made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return made
}

// prepareWorkload returns a request that makes a workload; as a dry run, so that
// no controller makes pods of it.
func (r *corpusRun) prepareWorkload(t *testing.T, kind metav1.TypeMeta) func(*rest.Config) error {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(r.c.File.Request.Object); err != nil {
		t.Fatal(err)
	}
	resource, _ := meta.UnsafeGuessKindToResource(kind.GroupVersionKind())
	return func(as *rest.Config) error {
		_, err := dynamic.NewForConfigOrDie(as).Resource(resource).Namespace(r.namespace).
			Create(context.Background(), u, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
}

// admissible fills in what the API server demands and no case is about.
func admissible(p *corev1.Pod) {
	if no := false; p.Spec.AutomountServiceAccountToken == nil {
		p.Spec.AutomountServiceAccountToken = &no // the case's pod has no token; neither has this one
	}
	for i := range p.Spec.EphemeralContainers {
		p.Spec.EphemeralContainers[i].TerminationMessagePolicy = corev1.TerminationMessageReadFile
		p.Spec.EphemeralContainers[i].ImagePullPolicy = corev1.PullIfNotPresent
	}
}

// event is how readAuditLog names the case's request.
func (r *corpusRun) event() string {
	var kind metav1.TypeMeta
	_ = json.Unmarshal(r.c.File.Request.Object, &kind)
	resource, _ := meta.UnsafeGuessKindToResource(kind.GroupVersionKind())
	return strings.ToLower(string(r.c.File.Request.Operation)) + " " + resource.Resource + " " + r.namespace
}

// compare puts together what the API server told: whether the request passed,
// its warnings, and the audit annotations, which hold the findings.
func (r *corpusRun) compare(t *testing.T, events map[string]map[string]string) {
	if !r.done {
		t.Skip("its request failed")
	}
	annotations := events[r.event()]
	want := r.c.File.Expect
	if want.Findings != nil {
		var got []struct{ Check, Action, State, Object, Path string }
		if text := annotations["findings"]; text != "" {
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatal(err)
			}
		}
		for _, g := range got {
			r.verdict.Findings = append(r.verdict.Findings, finding(g.Check, g.Action, g.State, g.Object, g.Path))
		}
		for i, f := range *want.Findings {
			if f.Message != nil {
				r.wantMessage(t, &f)
				(*want.Findings)[i].Message = nil
			}
		}
	}
	if want.AuditAnnotations != nil {
		if len(annotations) != len(*want.AuditAnnotations) {
			t.Errorf("audit annotations: got %v, want %v", annotations, *want.AuditAnnotations)
		}
		for k, v := range *want.AuditAnnotations {
			if annotations[k] != v {
				t.Errorf("audit annotation %s: got %s, want %s", k, annotations[k], v)
			}
		}
		want.AuditAnnotations = nil
	}
	for _, d := range want.Differences(&cases.Outcome{Verdict: r.verdict}) {
		t.Error(d)
	}
}

// wantMessage looks for the text of a finding where people get to read it.
func (r *corpusRun) wantMessage(t *testing.T, f *cases.Finding) {
	if f.Action == nil || *f.Action == "Audit" {
		return // recorded, without text
	}
	if told := strings.Join(append(r.verdict.Warnings, r.verdict.Message), "\n"); !strings.Contains(told, *f.Message) {
		t.Errorf("want %q in: %s", *f.Message, told)
	}
}

func finding(check, action, state, object, path string) policy.Finding {
	f := policy.Finding{Check: check, Path: path}
	f.Action = actionOf(action)
	f.Object = objectOf(object)
	f.State = map[string]facts.State{"absent": facts.Absent, "present": facts.Present}[state]
	return f
}
