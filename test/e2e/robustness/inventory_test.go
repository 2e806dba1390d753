package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/cluster"
)

// strict denies whatever is missing, and whatever is unknown.
const strict = `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: strict}, spec: {onUnknown: Deny,
checks: [{name: secret-exists, action: Deny}, {name: secret-key-exists, action: Deny}, {name: config-map-exists, action: Deny}]}}`

func secretKey(name, key string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Containers[0].Env = append(s.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", len(s.Containers[0].Env)), ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key},
		}})
	}
}

// X1: a Secret, or a key of it, that was made a moment before its pod never
// causes a refusal, though the webhook's watches are seconds late; and a Secret
// that is missing always does.
func TestNeverAFalseDenial(t *testing.T) {
	const rounds, atATime = 2000, 16
	p := newProxy(t)
	p.watchDelay = 3 * time.Second
	s := launch(t, "--kubeconfig="+p.kubeconfig, "--policy-file="+policyFile(t, strict), "--log-level=info")
	s.waitReady(t)
	ns := newNamespace(t)
	s.register(t, ns)

	secrets, pods := client.CoreV1().Secrets(ns), client.CoreV1().Pods(ns)
	round := func(ctx context.Context, i int) error {
		name := fmt.Sprintf("s-%d", i)
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"old": []byte("x")}}
		made, err := secrets.Create(ctx, secret, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		need := []*corev1.Pod{pod(name, secretVolume(name, false))}
		switch i % 4 {
		case 1: // a key that was just added to a Secret that has been read before
			if _, err := pods.Create(ctx, pod(name+"-first", secretKey(name, "old")), metav1.CreateOptions{}); err != nil {
				return err
			}
			made.Data["new"] = []byte("x")
			if _, err := secrets.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
				return err
			}
			need[0] = pod(name, secretKey(name, "new"))
		case 2: // several pods that share a Secret that was just made
			need = append(need, pod(name+"-b", secretVolume(name, false)), pod(name+"-c", secretKey(name, "old")))
		}
		missing := pod(name+"-gone", secretVolume("gone-"+name, false))
		if i%4 == 3 {
			missing = pod(name+"-gone", secretKey(name, "gone"))
		}
		var group sync.WaitGroup
		errs := make([]error, len(need)+1)
		for n, one := range need {
			group.Go(func() {
				if _, err := pods.Create(ctx, one, metav1.CreateOptions{}); err != nil {
					errs[n] = fmt.Errorf("round %d: refused though all is there: %w", i, err)
				}
			})
		}
		group.Go(func() {
			if _, err := pods.Create(ctx, missing, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
				errs[len(need)] = fmt.Errorf("round %d: let in without its Secret, or failed: %w", i, err)
			}
		})
		group.Wait()
		return errors.Join(errs...)
	}
	var next, failures atomic.Int32
	var group sync.WaitGroup
	for range atATime {
		group.Go(func() {
			for i := int(next.Add(1)); i <= rounds; i = int(next.Add(1)) {
				if err := round(t.Context(), i); err != nil {
					t.Error(err)
					if failures.Add(1) > 10 {
						return
					}
				}
			}
		})
	}
	group.Wait()
	if n := s.metric(t, "tokenward_findings_total", `state="unknown"`); n != 0 {
		t.Errorf("%v findings are unknown, want none", n)
	}
	if n := s.metric(t, "tokenward_findings_total", `action="Deny"`, `state="absent"`); n != rounds {
		t.Errorf("%v refusals, want %d", n, rounds)
	}
}

// D7: with the API server out of reach, hits are answered and misses are
// unknown, in time; afterwards all is right again by itself.
func TestTheAPIServerOutOfReach(t *testing.T) {
	p := newProxy(t)
	s := launch(t, "--kubeconfig="+p.kubeconfig, "--policy-file="+policyFile(t, strict))
	s.waitReady(t)
	ns := newNamespace(t)
	s.register(t, ns)
	createSecret(t, ns, "there", "k")
	names := 0
	create := func(change func(*corev1.PodSpec)) error {
		names++
		_, err := try(t, ns, pod(fmt.Sprintf("p-%d", names), change))
		return err
	}
	// Warm: the index has the Secret, and its keys, and those of kube-root-ca.crt.
	err := cluster.Eventually(t.Context(), patience, func(context.Context) error {
		before := p.readCount()
		if err := create(secretKey("there", "k")); err != nil {
			return err
		}
		if p.readCount() != before {
			return errors.New("the index is not warm yet")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range []string{"cut", "slow", "429", "403", "500"} {
		t.Run(fault, func(t *testing.T) {
			p.set(fault)
			defer p.set("")
			before := p.readCount()
			if err := create(secretKey("there", "k")); err != nil {
				t.Errorf("a hit: %v", err)
			}
			if n := p.readCount() - before; n != 0 {
				t.Errorf("a hit made %d calls", n)
			}
			start := time.Now()
			err := create(secretVolume("gone", false))
			if !apierrors.IsForbidden(err) {
				t.Fatalf("a miss: %v", err)
			}
			mustContain(t, err.Error(), "could not be looked up")
			// The time-out of the webhook is 5 s; ours is 2 s.
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("a miss took %s", took)
			}
			p.set("")
			if err := create(secretVolume("there", false)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			if err := create(secretVolume("gone", false)); err == nil {
				t.Error("afterwards a missing Secret is let in")
			} else {
				mustContain(t, err.Error(), "does not exist")
			}
		})
	}
}

// A warm index answers without a call, also for what a pod gets by itself.
func TestNoCallWhenAllIsWell(t *testing.T) {
	p := newProxy(t)
	s := launch(t, "--kubeconfig="+p.kubeconfig, "--policy-file="+policyFile(t, strict))
	s.waitReady(t)
	ns := newNamespace(t)
	s.register(t, ns)
	createSecret(t, ns, "there", "k")
	warm := func(i int) int {
		before := p.readCount()
		if _, err := try(t, ns, pod(fmt.Sprintf("p-%d", i), secretVolume("there", false), secretKey("there", "k"))); err != nil {
			t.Fatal(err)
		}
		return p.readCount() - before
	}
	round := 0
	err := cluster.Eventually(t.Context(), patience, func(context.Context) error {
		if round++; warm(round) > 0 {
			return errors.New("not warm")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if n := warm(1000 + i); n != 0 {
			t.Errorf("%d calls", n)
		}
	}
}

func TestOnlySomeNamespaces(t *testing.T) {
	ns, other := newNamespace(t), newNamespace(t)
	own := installIn(t, plane, chart.Release{Name: ns, Namespace: ns, Values: map[string]any{"namespaces": []string{ns}}})
	s := startWebhook(t, "--kubeconfig="+own.kubeconfig, "--namespaces="+ns, "--policy-file="+policyFile(t, strict))
	s.register(t, ns, other)
	createSecret(t, ns, "there", "k")
	if _, err := try(t, ns, pod("good", secretVolume("there", false))); err != nil {
		t.Error(err)
	}
	if _, err := try(t, ns, pod("bad", secretVolume("gone", false))); !apierrors.IsForbidden(err) {
		t.Errorf("got %v", err)
	}
	if _, err := try(t, other, pod("bad", secretVolume("gone", false))); err != nil {
		t.Errorf("a namespace that is not watched is judged: %v", err)
	}
}
