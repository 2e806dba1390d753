package audit

import (
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	"github.com/openreports/reports-api/pkg/client/clientset/versioned/fake"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokenward "tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
)

func TestReportsThatAreWritten(t *testing.T) {
	web := Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "web", UID: "1"}
	faulty := func(w *workloads) {
		w.of(web).faults = []*fault{{Finding: Finding{Finding: policy.Finding{Check: "secret-exists", Action: tokenward.Warn, State: facts.Absent, Message: "m"}}, at: []Ref{web}}}
	}
	report := func(labels map[string]string) *v1alpha1.Report {
		return &v1alpha1.Report{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tokenward-1", Labels: labels},
			Scope:      objectReference(web), Results: []v1alpha1.ReportResult{{Rule: "old"}},
		}
	}
	ours := map[string]string{managedBy: program}
	tests := []struct {
		name   string
		stored *v1alpha1.Report
		found  func(*workloads)
		want   string // the rule of the one result; empty for no report
	}{
		{"one for what is found", nil, faulty, "secret-exists"},
		{"one that says something else is written anew", report(ours), faulty, "secret-exists"},
		{"one that somebody took the label from is written anew", report(nil), faulty, "secret-exists"},
		{"one of an owner without a fault is removed", report(ours), func(*workloads) {}, ""},
		{"one of an owner that may not be listed stays", report(ours), func(w *workloads) { w.refused = []string{"deployments"} }, "old"},
		{"one of an owner whose pods may not be listed stays", report(ours), func(w *workloads) { w.refused = []string{"pods"} }, "old"},
		{"one is removed though others may not be listed", report(ours), func(w *workloads) { w.refused = []string{"jobs"} }, ""},
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
			a.told = map[string]string{}
			found := newWorkloads()
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

func TestFindingsOfANamespaceThatWentDoNotCount(t *testing.T) {
	a := NewAuditor(Options{
		Only: []string{"shop"}, Namespaces: func() map[string]map[string]string { return nil }, Metrics: metrics.New(), Log: logr.Discard(),
	})
	a.counts = map[string]map[finding]int{"shop": {{"secret-exists", "Warn", "absent"}: 1}}
	a.audit(t.Context(), "shop")
	if len(a.counts) != 0 {
		t.Errorf("counted: %v", a.counts)
	}
}
