package e2e

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"tokenward.dev/tokenward/cmd/kubectl-tokenward/app"
	"tokenward.dev/tokenward/pkg/report"
)

// audited runs "audit -o json".
func audited(t *testing.T, kubeconfig string, args ...string) *report.Audit {
	t.Helper()
	var out, errOut bytes.Buffer
	status := app.Main(t.Context(), append([]string{"audit", "--kubeconfig=" + kubeconfig, "-o", "json", "--fail-on=off"}, args...), &out, &errOut)
	if status != 0 {
		t.Fatalf("audit: status %d: %s", status, errOut.String())
	}
	result := &report.Audit{}
	if err := json.Unmarshal(out.Bytes(), result); err != nil {
		t.Fatal(err)
	}
	return result
}

func findingsOf(a *report.Audit) map[string][]string {
	got := map[string][]string{}
	for _, w := range a.Workloads {
		for _, f := range w.Findings {
			got[w.String()] = append(got[w.String()], f.Check+" "+f.Object+" "+f.State)
		}
		slices.Sort(got[w.String()])
	}
	return got
}

// compare reports every workload whose findings are not as planted.
func compare(t *testing.T, got, want map[string][]string) {
	t.Helper()
	for _, w := range slices.Sorted(maps.Keys(want)) {
		if !slices.Equal(got[w], want[w]) {
			t.Errorf("%s: got %q, want %q", w, got[w], want[w])
		}
	}
	for _, w := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[w]; !ok {
			t.Errorf("%s: got %q, want nothing", w, got[w])
		}
	}
}

func TestAuditOfALargeClusterFindsWhatIsPlantedAndNothingElse(t *testing.T) {
	own, c := ownPlane(t)
	p := plant(t, c, 1)
	a := audited(t, own.Kubeconfig, "-A")
	compare(t, findingsOf(a), p.want)
	if a.Judged.Pods != p.pods || a.Judged.Secrets < auditNamespaces*auditSecrets {
		t.Errorf("judged: %+v, want %d pods", a.Judged, p.pods)
	}
	for _, w := range a.Workloads {
		if w.Bare != strings.HasPrefix(w.Name, "bare-") {
			t.Errorf("%s: bare is %t", w.Ref, w.Bare)
		}
	}
}
