package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// The API server takes any text as the uid of an owner, and any owner. Only kinds that
// are not served are tried: the garbage collector removes what the others name.
func TestAPodWithAForgedOwnerIsReportedByItselfAndSoAreAllOthers(t *testing.T) {
	ns := env.NewNamespace(t)
	owners := map[string]metav1.OwnerReference{
		"bare":      {},
		"no-uid":    {APIVersion: "forged.example/v1", Kind: "Deployment", Name: "web", UID: "not a uid: /../"},
		"long-name": {APIVersion: "forged.example/v1", Kind: "Deployment", Name: strings.Repeat("a", 5000), UID: "1"},
		"traversal": {APIVersion: "forged.example/v1", Kind: "Deployment", Name: "../../../../../../api/v1/nodes", UID: "2"},
		"forged":    {APIVersion: "forged.example/v1", Kind: "Deployment", Name: "web", UID: types.UID("0b5a4e1c-6c1f-4f43-9f0e-0d8d6a3f5b11")},
	}
	want := slices.Sorted(maps.Keys(owners))
	for name, owner := range owners {
		pod := harness.Pod(name, harness.SecretVolume("gone", false))
		if owner.Name != "" {
			yes := true
			owner.Controller = &yes
			pod.OwnerReferences = []metav1.OwnerReference{owner}
		}
		if _, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { // or other tests find it until its namespace is gone
			now := int64(0)
			_ = env.Client.CoreV1().Pods(ns).Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		})
	}
	r := harness.NewReports(t, env.Plane)
	s := r.Launch(t, "--namespaces="+ns)
	harness.WaitUntil(t, func() error {
		var got []string
		for name, report := range r.ByName(t) {
			if !strings.HasPrefix(name, ns+"/") {
				continue
			}
			if report.Scope.Kind != "Pod" || report.Results[0].Properties["bare"] != "true" {
				return fmt.Errorf("a report on %s %s: %+v", report.Scope.Kind, report.Scope.Name, report.Results)
			}
			got = append(got, report.Scope.Name)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Errorf("reports on %v, want %v", got, want)
		}
		return nil
	})
	if n := s.Metric(t, "tokenward_audit_namespaces_total", `result="error"`); n != 0 {
		t.Errorf("audits that failed: %v", n)
	}
}
