package robustness

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// oneRound makes a Secret, pods that need it, and a pod whose Secret, or key, is
// missing; in each round of four in another way.
func oneRound(ctx context.Context, ns string, i int) error {
	secrets, pods := env.Client.CoreV1().Secrets(ns), env.Client.CoreV1().Pods(ns)
	name := fmt.Sprintf("s-%d", i)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"old": []byte("x")}}
	made, err := secrets.Create(ctx, secret, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	need := []*corev1.Pod{harness.Pod(name, harness.SecretVolume(name, false))}
	switch i % 4 {
	case 1: // a key that was just added to a Secret that has been read before
		if _, err := pods.Create(ctx, harness.Pod(name+"-first", harness.SecretVariable(name, "old")), metav1.CreateOptions{}); err != nil {
			return err
		}
		made.Data["new"] = []byte("x")
		if _, err := secrets.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
			return err
		}
		need[0] = harness.Pod(name, harness.SecretVariable(name, "new"))
	case 2: // several pods that share a Secret that was just made
		need = append(need, harness.Pod(name+"-b", harness.SecretVolume(name, false)), harness.Pod(name+"-c", harness.SecretVariable(name, "old")))
	}
	missing := harness.Pod(name+"-gone", harness.SecretVolume("gone-"+name, false))
	if i%4 == 3 {
		missing = harness.Pod(name+"-gone", harness.SecretVariable(name, "gone"))
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

// A Secret, or a key of it, that was made a moment before its pod never
// causes a refusal, though the webhook's watches are seconds late; and a Secret
// that is missing always does. The pods are of several namespaces, since each may ask
// for only so much in a second.
func TestNeverAFalseDenial(t *testing.T) {
	const rounds, atATime = 2000, 16
	p := newProxy(t)
	p.watchDelay = 3 * time.Second
	s := harness.Launch(t, "--kubeconfig="+p.kubeconfig, "--policy-file="+harness.PolicyFile(t, harness.StrictPolicy), "--log-level=info")
	s.WaitReady(t)
	namespaces := make([]string, 64)
	for i := range namespaces {
		namespaces[i] = env.NewNamespace(t)
	}
	env.Register(t, s, namespaces...)

	var next, failures atomic.Int32
	var group sync.WaitGroup
	for range atATime {
		group.Go(func() {
			for i := int(next.Add(1)); i <= rounds; i = int(next.Add(1)) {
				if err := oneRound(t.Context(), namespaces[i%len(namespaces)], i); err != nil {
					t.Error(err)
					if failures.Add(1) > 10 {
						return
					}
				}
			}
		})
	}
	group.Wait()
	if n := s.Metric(t, "tokenward_findings_total", `state="unknown"`); n != 0 {
		t.Errorf("%v findings are unknown, want none", n)
	}
	if n := s.Metric(t, "tokenward_findings_total", `action="Deny"`, `state="absent"`); n != rounds {
		t.Errorf("%v refusals, want %d", n, rounds)
	}
}

// With the API server out of reach, hits are answered and misses are
// unknown, in time; afterwards all is right again by itself.
func TestTheAPIServerOutOfReach(t *testing.T) {
	p := newProxy(t)
	s := harness.Launch(t, "--kubeconfig="+p.kubeconfig, "--policy-file="+harness.PolicyFile(t, harness.StrictPolicy))
	s.WaitReady(t)
	ns := env.NewNamespace(t)
	env.Register(t, s, ns)
	env.CreateSecret(t, ns, "there", "k")
	names := 0
	create := func(change func(*corev1.PodSpec)) error {
		names++
		_, err := env.CreatePod(t, ns, harness.Pod(fmt.Sprintf("p-%d", names), change))
		return err
	}
	// Warm: the index has the Secret, and its keys, and those of kube-root-ca.crt.
	err := cluster.Eventually(t.Context(), harness.Patience, func(context.Context) error {
		before := p.readCount()
		if err := create(harness.SecretVariable("there", "k")); err != nil {
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
			if err := create(harness.SecretVariable("there", "k")); err != nil {
				t.Errorf("a hit: %v", err)
			}
			if n := p.readCount() - before; n != 0 {
				t.Errorf("a hit made %d calls", n)
			}
			start := time.Now()
			err := create(harness.SecretVolume("gone", false))
			if !apierrors.IsForbidden(err) {
				t.Fatalf("a miss: %v", err)
			}
			harness.MustContain(t, err.Error(), "could not be looked up")
			// The time-out of the webhook is 5 s; ours is 2 s.
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("a miss took %s", took)
			}
			p.set("")
			if err := create(harness.SecretVolume("there", false)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			if err := create(harness.SecretVolume("gone", false)); err == nil {
				t.Error("afterwards a missing Secret is let in")
			} else {
				harness.MustContain(t, err.Error(), "does not exist")
			}
		})
	}
}

// A warm index answers without a call, also for what a pod gets by itself.
func TestNoCallWhenAllIsWell(t *testing.T) {
	p := newProxy(t)
	s := harness.Launch(t, "--kubeconfig="+p.kubeconfig, "--policy-file="+harness.PolicyFile(t, harness.StrictPolicy))
	s.WaitReady(t)
	ns := env.NewNamespace(t)
	env.Register(t, s, ns)
	env.CreateSecret(t, ns, "there", "k")
	warm := func(i int) int {
		before := p.readCount()
		if _, err := env.CreatePod(t, ns, harness.Pod(fmt.Sprintf("p-%d", i), harness.SecretVolume("there", false), harness.SecretVariable("there", "k"))); err != nil {
			t.Fatal(err)
		}
		return p.readCount() - before
	}
	round := 0
	err := cluster.Eventually(t.Context(), harness.Patience, func(context.Context) error {
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
	ns, other := env.NewNamespace(t), env.NewNamespace(t)
	own := harness.Install(t, env.Plane, chart.Release{Name: ns, Namespace: ns, Values: map[string]any{"namespaces": []string{ns}}})
	s := env.StartWebhook(t, "--kubeconfig="+own.Kubeconfig, "--namespaces="+ns, "--policy-file="+harness.PolicyFile(t, harness.StrictPolicy))
	env.Register(t, s, ns, other)
	env.CreateSecret(t, ns, "there", "k")
	if _, err := env.CreatePod(t, ns, harness.Pod("good", harness.SecretVolume("there", false))); err != nil {
		t.Error(err)
	}
	if _, err := env.CreatePod(t, ns, harness.Pod("bad", harness.SecretVolume("gone", false))); !apierrors.IsForbidden(err) {
		t.Errorf("got %v", err)
	}
	if _, err := env.CreatePod(t, other, harness.Pod("bad", harness.SecretVolume("gone", false))); err != nil {
		t.Errorf("a namespace that is not watched is judged: %v", err)
	}
}

// A token that is re-issued a moment before the pod is good, though the
// watches do not know of it yet.
func TestReissuedBeforeTheWatchKnows(t *testing.T) {
	ns := env.NewNamespace(t)
	dead := base64.StdEncoding.EncodeToString([]byte("no token any more"))
	if _, err := env.Client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "t", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
		Type:       corev1.SecretTypeServiceAccountToken, StringData: map[string]string{"token": "no token any more"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := newProxy(t)
	p.watchDelay = 5 * time.Second // from the start: watches that are open stay as they are
	s := harness.Launch(t, "--kubeconfig="+p.kubeconfig, "--policy-file="+harness.PolicyFile(t, harness.TokenDeny), "--log-level=error")
	s.WaitReady(t)
	env.Register(t, s, ns)
	body := harness.Pod("p", harness.SecretVolume("t", false))
	if _, err := env.CreatePod(t, ns, body); err == nil || !strings.Contains(err.Error(), "not a well-formed token") {
		t.Fatalf("a dead token: %v", err)
	}
	for i := range 5 {
		if _, err := env.Client.CoreV1().Secrets(ns).Patch(t.Context(), "t", types.JSONPatchType, []byte(`[{"op":"remove","path":"/data/token"}]`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		harness.WaitUntil(t, func() error {
			s, err := env.Client.CoreV1().Secrets(ns).Get(t.Context(), "t", metav1.GetOptions{})
			if err == nil && len(s.Data["token"]) < 100 {
				err = errors.New("the token controller has not filled the Secret")
			}
			return err
		})
		body.Name = "good-" + string(rune('a'+i))
		if _, err := env.CreatePod(t, ns, body); err != nil {
			t.Errorf("re-issued: %v", err)
		}
		if _, err := env.Client.CoreV1().Secrets(ns).Patch(t.Context(), "t", types.MergePatchType, []byte(`{"data":{"token":"`+dead+`"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
