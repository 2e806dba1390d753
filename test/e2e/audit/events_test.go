package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// Events are as many as there are findings, however often they are found.
func TestAuditEventsAreNotRepeated(t *testing.T) {
	ns := env.NewNamespace(t)
	if _, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), harness.Pod("p", harness.SecretVolume("gone", false)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // or other tests find it until its namespace is gone
		now := int64(0)
		_ = env.Client.CoreV1().Pods(ns).Delete(context.Background(), "p", metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
	events := func() ([]corev1.Event, error) {
		list, err := env.Client.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=TokenwardAudit"})
		if err != nil {
			return nil, err
		}
		return list.Items, nil
	}
	for range 2 {
		s := harness.Launch(t, "--kubeconfig="+env.Plane.Kubeconfig, "--audit-interval=1h", "--audit-events", "--namespaces="+ns)
		s.WaitReady(t)
		harness.WaitUntil(t, func() error {
			if s.Metric(t, "tokenward_audit_passes_total") == 0 {
				return errors.New("no pass has ended")
			}
			found, err := events()
			if err == nil && len(found) != 1 {
				err = fmt.Errorf("%d events, want 1", len(found))
			}
			return err
		})
		if err := s.Stop(t); err != nil {
			t.Fatal(err)
		}
	}
	found, err := events()
	if err != nil || len(found) != 1 || found[0].InvolvedObject.Name != "p" || !strings.Contains(found[0].Message, `Secret "gone"`) {
		t.Errorf("events: %+v, %v", found, err)
	}
}
