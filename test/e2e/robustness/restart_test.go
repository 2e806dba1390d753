package robustness

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// The API server is killed and restarted under load. What the index knows
// is answered all the while, what is missing is never let in, and afterwards
// all is right again by itself.
func TestAPIServerRestartUnderLoad(t *testing.T) {
	secret := func(name string) error {
		_, err := env.Client.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	}
	if err := secret("there"); err != nil {
		t.Fatal(err)
	}
	// A release of its own: an API server that has just started may refuse what it will
	// allow, and that is no right that the chart lacks.
	ns := env.NewNamespace(t)
	installed := harness.Install(t, env.Plane, chart.Release{Name: ns, Namespace: ns})
	s := harness.Launch(t, "--kubeconfig="+installed.Kubeconfig, "--policy-file="+harness.PolicyFile(t, harness.StrictPolicy), "--log-level=error")
	s.WaitReady(t)
	a := s.Asker(t)
	good, bad := harness.ReviewBody(t, harness.Pod("good", harness.SecretVolume("there", false))), harness.ReviewBody(t, harness.Pod("bad", harness.SecretVolume("gone", false)))

	loading, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var asked atomic.Int64
	for i := range 8 {
		body, want := good, true
		if i%2 == 1 {
			body, want = bad, false
		}
		group.Go(func() {
			for loading.Err() == nil {
				r, err := a.Ask(t.Context(), body)
				if err != nil || r.Allowed != want {
					t.Errorf("wrong in between: %+v, %v; want allowed=%t", r, err, want)
					return
				}
				asked.Add(1)
			}
		})
	}
	err := env.Plane.RestartAPIServer(func() {
		during := asked.Load()
		harness.WaitUntil(t, func() error {
			if asked.Load() < during+100 {
				return errors.New("no reviews while the API server is down")
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	harness.WaitUntil(t, func() error {
		n++
		name := fmt.Sprintf("after-%d", n)
		if err := secret(name); err != nil {
			return err
		}
		r, err := a.Ask(t.Context(), harness.ReviewBody(t, harness.Pod(name, harness.SecretVolume(name, false))))
		if err != nil {
			return err
		}
		if !r.Allowed {
			return errors.New(r.Result.Message)
		}
		return nil
	})
	stop()
	group.Wait()
	t.Logf("%d reviews", asked.Load())
}
