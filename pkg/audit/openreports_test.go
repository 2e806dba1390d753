package audit

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	"github.com/openreports/reports-api/pkg/client/clientset/versioned/fake"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	tokenward "tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/rollup"
)

func TestReportsThatAreWritten(t *testing.T) {
	web := report.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "web", UID: "1"}
	faulty := func(n *namespaceFaults) {
		finding := evaluate.Finding{Finding: policy.Finding{Check: "secret-exists", Impact: policy.Impact{Effect: policy.BreaksAtStart, Severity: policy.High}, Action: tokenward.Warn, State: facts.Absent, Message: "m"}}
		n.Rollup[web.UID] = &rollup.Workload{Ref: web, Faults: []*rollup.Fault{{Finding: finding, At: []report.Ref{web}}}}
	}
	stored := func(labels map[string]string) *v1alpha1.Report {
		return &v1alpha1.Report{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tokenward-1", Labels: labels},
			Scope:      objectReference(web), Results: []v1alpha1.ReportResult{{Rule: "old"}},
		}
	}
	ours := map[string]string{managedBy: program}
	tests := []struct {
		name   string
		stored *v1alpha1.Report
		found  func(*namespaceFaults)
		want   string // the rule of the one result; empty for no report
	}{
		{"one for what is found", nil, faulty, "secret-exists"},
		{"one that says something else is written anew", stored(ours), faulty, "secret-exists"},
		{"one that somebody took the label from is written anew", stored(nil), faulty, "secret-exists"},
		{"one of an owner without a fault is removed", stored(ours), func(*namespaceFaults) {}, ""},
		{"one of an owner that may not be listed stays", stored(ours), func(n *namespaceFaults) { n.refused = []string{"deployments"} }, "old"},
		{"one of an owner whose pods may not be listed stays", stored(ours), func(n *namespaceFaults) { n.refused = []string{"pods"} }, "old"},
		{"one is removed though others may not be listed", stored(ours), func(n *namespaceFaults) { n.refused = []string{"jobs"} }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := fake.NewSimpleClientset()
			if tt.stored != nil {
				if err := client.Tracker().Add(tt.stored); err != nil {
					t.Fatal(err)
				}
			}
			a := NewAuditor(Options{Reports: client, Now: func() time.Time { return time.Unix(1000, 0) }, Metrics: metrics.New(), Log: logr.Discard()})
			a.logged = map[string]string{}
			found := &namespaceFaults{Rollup: rollup.Rollup{}}
			tt.found(found)
			if err := a.writeReports(t.Context(), "shop", found, true); err != nil {
				t.Fatal(err)
			}
			list, err := client.OpenreportsV1alpha1().Reports("shop").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for i := range list.Items {
				got += list.Items[i].Results[0].Rule
				if list.Items[i].Labels[managedBy] != program {
					t.Errorf("labels: %v", list.Items[i].Labels)
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWhatAReportMakesOfAFinding(t *testing.T) {
	base := func(change func(*rollup.Fault)) *rollup.Fault {
		f := &rollup.Fault{Finding: evaluate.Finding{Finding: policy.Finding{Check: "secret-exists", Impact: policy.Impact{Effect: policy.BreaksAtStart, Severity: policy.High}, State: facts.Absent, Action: tokenward.Warn, Policies: []string{policy.DefaultName}, Message: "m"}}, Pods: 1}
		change(f)
		return f
	}
	tests := []struct {
		name     string
		fault    *rollup.Fault
		result   v1alpha1.Result
		severity v1alpha1.ResultSeverity
		policy   string
	}{
		{"the default that warns", base(func(*rollup.Fault) {}), "warn", "high", policy.DefaultName},
		{"a policy that denies is scored", base(func(f *rollup.Fault) { f.Action, f.Policies = tokenward.Deny, []string{"p"} }), "fail", "high", "p"},
		{"what pods are stuck for", base(func(f *rollup.Fault) { f.Stuck = 1 }), "warn", "critical", policy.DefaultName},
		{"what is unknown could not be evaluated", base(func(f *rollup.Fault) { f.State = facts.Unknown }), "error", "info", policy.DefaultName},
		{"what is exempted is skipped", base(func(f *rollup.Fault) { f.Exempted = "moves" }), "skip", "high", policy.DefaultName},
		{"a policy in dry run alone", base(func(f *rollup.Fault) { f.Action, f.Would, f.WouldPolicies = "", tokenward.Deny, []string{"trial"} }), "warn", "high", "trial"},
		{"what breaks nothing", base(func(f *rollup.Fault) {
			f.Impact, f.State = policy.Impact{Effect: policy.BreaksNothing, Severity: policy.Low}, facts.Present
		}), "warn", "low", policy.DefaultName},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := openResult(&rollup.Workload{Pods: 1}, tt.fault, time.Unix(7, 0))
			if got.Result != tt.result || got.Severity != tt.severity || got.Policy != tt.policy || got.Scored != (tt.result == "fail") || got.Timestamp.Seconds != 7 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestAReportIsTheSameWheneverAFindingWasSeen(t *testing.T) {
	w := &rollup.Workload{Ref: report.Ref{Kind: "Pod", Name: "p", UID: "1"}, Pods: 1, Faults: []*rollup.Fault{
		{Finding: evaluate.Finding{Finding: policy.Finding{Check: "secret-exists", Impact: policy.Impact{Effect: policy.BreaksAtStart, Severity: policy.High}, State: facts.Absent, Action: tokenward.Warn, Message: "m"}}, Pods: 1},
	}}
	old := openReport("shop", w, time.Unix(1, 0))
	summarize(old)
	again := openReport("shop", w, time.Unix(2, 0))
	summarize(again)
	if !sameReport(old, again) || again.Results[0].Timestamp.Seconds != 1 {
		t.Errorf("the same findings: %+v, %+v", old, again)
	}
	w.Faults[0].Action = tokenward.Deny
	changed := openReport("shop", w, time.Unix(3, 0))
	summarize(changed)
	if sameReport(old, changed) || changed.Results[0].Timestamp.Seconds != 3 {
		t.Errorf("another action: %+v, %+v", old, changed)
	}
}

// A default installation finds no OpenReports: that is no error, and said once.
func TestAClusterWithoutOpenReportsIsNoError(t *testing.T) {
	client := fake.NewSimpleClientset()
	client.PrependReactor("list", "reports", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewGenericServerResponse(404, "list", v1alpha1.Resource("reports"), "", "404 page not found", 0, true)
	})
	var lines []string
	log := funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})
	a := NewAuditor(Options{Reports: client, Now: func() time.Time { return time.Unix(1000, 0) }, Metrics: metrics.New(), Log: log})
	a.logged = map[string]string{}
	for _, namespace := range []string{"shop", "bank"} {
		if err := a.writeReports(t.Context(), namespace, &namespaceFaults{Rollup: rollup.Rollup{}}, true); err != nil {
			t.Fatal(err)
		}
	}
	if len(lines) != 1 || !strings.Contains(lines[0], `"level"=0`) || !strings.Contains(lines[0], "install them") {
		t.Errorf("logged: %q", lines)
	}
}
