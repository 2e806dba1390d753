package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	r := newReports(t, own)
	s := r.launch(t)
	r.waitFor(t, p.want)
	s.hasPassed(t)
	t.Run("each report has every field that OpenReports documents", r.areComplete)
	t.Run("a Secret that is deleted shows within 5 s without a full pass", func(t *testing.T) {
		ns := slices.Sorted(maps.Keys(p.mounts))[0]
		m := p.mounts[ns]
		passes := s.metric(t, "tokenward_audit_passes_total")
		if err := c.CoreV1().Secrets(ns).Delete(t.Context(), m.secret, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		r.within5s(t, func(now map[string][]string) bool {
			return slices.Contains(now[m.deployment], "secret-exists Secret "+ns+"/"+m.secret+" absent")
		})
		if n := s.metric(t, "tokenward_audit_passes_total"); n != passes {
			t.Errorf("full passes: %v before, %v after", passes, n)
		}
	})
	t.Run("a policy that is changed shows within 5 s where it matches", func(t *testing.T) {
		passes := s.metric(t, "tokenward_audit_passes_total")
		before := r.byName(t)
		createPolicyIn(t, own, `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: quiet}, spec: {
			match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: audit-00}}}, checks: [{name: token-default-account, action: "Off"},
			{name: token-long-lived, action: "Off"}, {name: config-map-exists, action: "Off"}, {name: secret-key-exists, action: Deny}]}}`)
		r.within5s(t, func(now map[string][]string) bool {
			for w, found := range now {
				text := strings.Join(found, " ")
				if strings.Contains(w, " audit-00/") && (strings.Contains(text, "token-default") || strings.Contains(text, "long-lived") || strings.Contains(text, "config-map")) {
					return false
				}
			}
			return true
		})
		for name, after := range r.byName(t) {
			if old := before[name]; old != nil && old.ResourceVersion != after.ResourceVersion && !strings.HasPrefix(name, "audit-00/") {
				t.Errorf("the report %s was written, too", name)
			}
		}
		if n := s.metric(t, "tokenward_audit_passes_total"); n != passes {
			t.Errorf("full passes: %v before, %v after", passes, n)
		}
	})
	t.Run("another leader writes nothing that did not change", func(t *testing.T) {
		before := r.byName(t)
		if err := s.stop(t); err != nil {
			t.Fatal(err)
		}
		s := r.launch(t)
		s.hasPassed(t)
		// Until keys count as gone, which is once more in a second, tokens are unknown.
		waitUntil(t, func() error {
			if n := s.metric(t, "tokenward_audit_findings", `check="token-valid"`, `state="unknown"`); n != 0 {
				return fmt.Errorf("%v tokens are unknown", n)
			}
			return nil
		})
		for name, after := range r.byName(t) {
			if was := before[name]; was == nil || was.ResourceVersion != after.ResourceVersion {
				t.Fatalf("a report was written: before %+v, after %+v", was, after)
			}
		}
		if n := s.metric(t, "tokenward_audit_reports_written_total"); n != 0 {
			t.Errorf("tokenward_audit_reports_written_total: %v", n)
		}
	})
}

// hasPassed waits until the first full pass has ended.
func (s *server) hasPassed(t *testing.T) {
	t.Helper()
	waitUntil(t, func() error {
		if s.metric(t, "tokenward_audit_passes_total") == 0 {
			return errors.New("no pass has ended")
		}
		return nil
	})
}
