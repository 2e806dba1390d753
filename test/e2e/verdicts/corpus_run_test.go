package verdicts

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

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
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/policysource"
	"tokenward.dev/tokenward/pkg/workload"
	"tokenward.dev/tokenward/test/e2e/harness"
)

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
	file, number, several := strings.Cut(r.name, "#")
	text, err := os.ReadFile(filepath.Join(corpus, file))
	if err != nil {
		t.Fatal(err)
	}
	// The case in its own namespace, and with cluster-scoped names of its own.
	text = namespaceWord.ReplaceAll(text, []byte(r.namespace))
	for _, word := range []string{"corp", "example.test"} {
		text = regexp.MustCompile(`\b`+regexp.QuoteMeta(word)+`([":/]|\b)`).ReplaceAll(text, []byte(strings.TrimPrefix(r.namespace, "corpus-")+"."+word+"$1"))
	}
	found, err := cases.Parse(file, text)
	if err != nil {
		t.Fatal(err)
	}
	r.c = found[0]
	if n, err := strconv.Atoi(number); several && err == nil {
		r.c = found[n-1]
	}
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
		if _, err := env.CreatePolicy(t, u); err != nil {
			t.Fatal(err)
		}
	}
	checks := slices.DeleteFunc(policy.Checks(), func(c policy.Check) bool {
		return len(r.c.File.Checks) > 0 && !slices.Contains(r.c.File.Checks, c.ID)
	})
	source, err := policysource.NewCluster(env.Standard.Config, policy.NewCompiler(checks), policy.Options{DryRun: r.c.File.DryRun}, r.server.base.Metrics, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = source.Start(ctx) }()
	t.Cleanup(func() { stop(); <-stopped })
	harness.WaitUntil(t, func() error {
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
	config, seen := env.WarnedConfig()
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
	for _, line := range seen.Lines {
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
	pods := env.Client.CoreV1().Pods(r.namespace)
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
