package audit

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	"github.com/openreports/reports-api/pkg/client/clientset/versioned/fake"
	"github.com/prometheus/client_golang/prometheus/testutil"
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

// One object that the API server does not take costs its own report and no other.
func TestAReportThatIsRefusedCostsNoOther(t *testing.T) {
	invalid := apierrors.NewInvalid(v1alpha1.SchemeGroupVersion.WithKind("Report").GroupKind(), "tokenward-bad uid", nil)
	tests := []struct {
		name    string
		answer  error
		written int // reports besides the bad ones
		fails   bool
		metric  string
		lines   int // after two looks
	}{
		{"one that is invalid", invalid, 20, false, "refused", 1},
		{"one that an admission webhook denies", apierrors.NewForbidden(v1alpha1.Resource("reports"), "bad", errors.New("denied")), 20, false, "refused", 1},
		{"one that is too large", apierrors.NewRequestEntityTooLargeError("too large"), 20, false, "refused", 1},
		{"one on which the API server stumbles is tried again", apierrors.NewInternalError(errors.New("x")), 20, true, "error", 1},
		{"one that somebody else writes is tried again", apierrors.NewConflict(v1alpha1.Resource("reports"), "bad", errors.New("x")), 20, true, "error", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := fake.NewSimpleClientset()
			client.PrependReactor("create", "reports", func(action clienttesting.Action) (bool, runtime.Object, error) {
				created, _ := action.(clienttesting.CreateAction).GetObject().(*v1alpha1.Report)
				return strings.Contains(created.Name, "bad"), nil, tt.answer
			})
			a, lines := auditorThatLogs(client)
			found := &namespaceFaults{Rollup: rollup.Rollup{}}
			for i := range tt.written {
				addFaulty(found.Rollup, fmt.Sprintf("good-%d", i))
			}
			addFaulty(found.Rollup, "bad")
			for range 2 {
				if err := a.writeReports(t.Context(), "shop", found, true); (err != nil) != tt.fails {
					t.Fatalf("got error %v, want one: %t", err, tt.fails)
				}
			}
			list, err := client.OpenreportsV1alpha1().Reports("shop").List(t.Context(), metav1.ListOptions{})
			if err != nil || len(list.Items) != tt.written {
				t.Errorf("%d reports (%v), want %d", len(list.Items), err, tt.written)
			}
			if len(*lines) != tt.lines || !strings.Contains((*lines)[0], "tokenward-bad") || !strings.Contains((*lines)[0], "Pod shop/bad") {
				t.Errorf("logged: %q", *lines)
			}
			if n := testutil.ToFloat64(a.Metrics.AuditReports.WithLabelValues(tt.metric)); n != 2 {
				t.Errorf("counted %v as %s, want 2", n, tt.metric)
			}
		})
	}
}

func TestAnAPIServerThatDoesNotAnswerIsNotAskedOnceForEachReport(t *testing.T) {
	client, asked := fake.NewSimpleClientset(), 0
	client.PrependReactor("create", "reports", func(clienttesting.Action) (bool, runtime.Object, error) {
		asked++
		return true, nil, errors.New("connection refused")
	})
	a, _ := auditorThatLogs(client)
	found := &namespaceFaults{Rollup: rollup.Rollup{}}
	for i := range 20 {
		addFaulty(found.Rollup, fmt.Sprint(i))
	}
	if err := a.writeReports(t.Context(), "shop", found, true); err == nil || asked != 1 {
		t.Errorf("asked %d times, error %v", asked, err)
	}
}

func TestRefusalsDoNotFillTheLog(t *testing.T) {
	client := fake.NewSimpleClientset()
	client.PrependReactor("create", "reports", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewBadRequest("no")
	})
	a, lines := auditorThatLogs(client)
	found := &namespaceFaults{Rollup: rollup.Rollup{}}
	for i := range 2*maxRefusalsLogged + 1 {
		addFaulty(found.Rollup, fmt.Sprint(i))
	}
	for look, want := range []int{maxRefusalsLogged, 2 * maxRefusalsLogged, 2*maxRefusalsLogged + 1, 2*maxRefusalsLogged + 1} {
		if err := a.writeReports(t.Context(), "shop", found, true); err != nil || len(*lines) != want {
			t.Errorf("look %d: logged %d lines, want %d (%v)", look, len(*lines), want, err)
		}
	}
	a.count("shop", nil)
	if len(a.refused) != 0 {
		t.Errorf("remembered of a namespace that is gone: %v", a.refused)
	}
}

func auditorThatLogs(client *fake.Clientset) (*Auditor, *[]string) {
	lines := &[]string{}
	log := funcr.New(func(_, line string) { *lines = append(*lines, line) }, funcr.Options{})
	a := NewAuditor(Options{Reports: client, Now: func() time.Time { return time.Unix(1000, 0) }, Metrics: metrics.New(), Log: log})
	a.logged, a.counts = map[string]string{}, map[string]map[findingLabels]int{}
	return a, lines
}

func addFaulty(r rollup.Rollup, name string) {
	ref := report.Ref{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: name, UID: name}
	finding := evaluate.Finding{Finding: policy.Finding{
		Check: "secret-exists", Impact: policy.Impact{Effect: policy.BreaksAtStart, Severity: policy.High}, Action: tokenward.Warn, State: facts.Absent, Message: "m",
	}}
	r[name] = &rollup.Workload{Ref: ref, Faults: []*rollup.Fault{{Finding: finding, At: []report.Ref{ref}}}}
}
