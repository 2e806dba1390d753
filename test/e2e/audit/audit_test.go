package audit

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/e2e/harness"
)

func TestAuditOfALargeClusterFindsWhatIsPlantedAndNothingElse(t *testing.T) {
	p := plant(t, env.Client, 1)
	a := harness.Audited(t, env.Plane.Kubeconfig, "-A")
	harness.Compare(t, harness.Findings(a), p.want)
	if a.Judged.Pods != p.pods || a.Judged.Secrets < auditNamespaces*auditSecrets {
		t.Errorf("judged: %+v, want %d pods", a.Judged, p.pods)
	}
	for _, w := range a.Workloads {
		if w.Bare != strings.HasPrefix(w.Name, "bare-") {
			t.Errorf("%s: bare is %t", w.Ref, w.Bare)
		}
	}
	r := harness.NewReports(t, env.Plane)
	s := r.Launch(t)
	r.WaitFor(t, p.want)
	waitForPass(t, s)
	top := t
	t.Run("each report has every field that OpenReports documents", r.AreComplete)
	t.Run("a Secret that is deleted shows within 5 s without a full pass", func(t *testing.T) { deleteMounted(t, p, r, s) })
	t.Run("a policy that is changed shows within 5 s where it matches", func(t *testing.T) { changePolicy(t, top, r, s) })
	t.Run("another leader writes nothing that did not change", func(t *testing.T) { changeLeader(t, r, s) })
}

func deleteMounted(t *testing.T, p *planted, r *harness.Reports, s *harness.Server) {
	ns := slices.Sorted(maps.Keys(p.mounts))[0]
	m := p.mounts[ns]
	passes := s.Metric(t, "tokenward_audit_passes_total")
	if err := env.Client.CoreV1().Secrets(ns).Delete(t.Context(), m.secret, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.Within5s(t, func(now map[string][]string) bool {
		return slices.Contains(now[m.deployment], "secret-exists Secret "+ns+"/"+m.secret+" absent")
	})
	if n := s.Metric(t, "tokenward_audit_passes_total"); n != passes {
		t.Errorf("full passes: %v before, %v after", passes, n)
	}
}

// changePolicy leaves the policy in force until owner ends.
func changePolicy(t, owner *testing.T, r *harness.Reports, s *harness.Server) {
	passes := s.Metric(t, "tokenward_audit_passes_total")
	before := r.ByName(t)
	env.MustCreatePolicy(owner, `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: strict}, spec: {
		match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: audit-00}}}, checks: [{name: secret-key-exists, action: Deny}]}}`)
	r.Within5s(t, func(map[string][]string) bool {
		denied := 0
		for name, report := range r.ByName(t) {
			for _, result := range report.Results {
				if result.Rule == "secret-key-exists" && strings.HasPrefix(name, "audit-00/") {
					if result.Result != "fail" {
						return false
					}
					denied++
				}
			}
		}
		return denied > 0
	})
	for name, after := range r.ByName(t) {
		if old := before[name]; old != nil && old.ResourceVersion != after.ResourceVersion && !strings.HasPrefix(name, "audit-00/") {
			t.Errorf("the report %s was written, too", name)
		}
	}
	if n := s.Metric(t, "tokenward_audit_passes_total"); n != passes {
		t.Errorf("full passes: %v before, %v after", passes, n)
	}
}

func changeLeader(t *testing.T, r *harness.Reports, first *harness.Server) {
	before := r.ByName(t)
	if err := first.Stop(t); err != nil {
		t.Fatal(err)
	}
	s := r.Launch(t)
	waitForPass(t, s)
	// Until keys count as gone, which is once more in a second, tokens are unknown.
	harness.WaitUntil(t, func() error {
		if n := s.Metric(t, "tokenward_audit_findings", `check="token-valid"`, `state="unknown"`); n != 0 {
			return fmt.Errorf("%v tokens are unknown", n)
		}
		return nil
	})
	for name, after := range r.ByName(t) {
		if was := before[name]; was == nil || was.ResourceVersion != after.ResourceVersion {
			t.Fatalf("a report was written: before %+v, after %+v", was, after)
		}
	}
	if n := s.Metric(t, "tokenward_audit_reports_written_total"); n != 0 {
		t.Errorf("tokenward_audit_reports_written_total: %v", n)
	}
}

// waitForPass waits until the first full pass has ended.
func waitForPass(t *testing.T, s *harness.Server) {
	t.Helper()
	harness.WaitUntil(t, func() error {
		if s.Metric(t, "tokenward_audit_passes_total") == 0 {
			return errors.New("no pass has ended")
		}
		return nil
	})
}
