package tokens

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

const (
	keyRefresh = time.Second
	keySettle  = 5 * time.Second
	// slowMachine is what the test allows for its own polls and a busy machine.
	slowMachine = 2 * time.Second
)

// rotationsFromEnvironment is how many rotations each of the tests makes: a few, or
// as many as ROTATIONS says.
func rotationsFromEnvironment(t *testing.T) int {
	t.Helper()
	text := os.Getenv("ROTATIONS")
	if text == "" {
		return 8
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("ROTATIONS: %v", err)
	}
	return n
}

// After each rotation the token is issued anew and a pod created at once. No token
// that all API servers accept is refused at any time, and one that none accepts is
// refused within settle and two refreshes, by replicas that come and go.
func TestRotationsOverOneAPIServer(t *testing.T) { rotateOver(t, 1) }

// The same where two API servers get the new key at different times.
func TestRotationsOverTwoAPIServers(t *testing.T) { rotateOver(t, 2) }

func rotateOver(t *testing.T, servers int) {
	r := newRotating(t, servers)
	n := rotationsFromEnvironment(t)
	for i := range n {
		r.rotate(t, i)
		if i%4 == 3 {
			r.replaceReplica(t)
		}
	}
	r.deaths.Wait()
	r.mustAgree(t, harness.Patience)
	slices.Sort(r.died)
	if len(r.died) == 0 {
		t.Fatal("no token was seen to die")
	}
	t.Logf("%d rotations over %d API servers, %d pods created, %d reviews by %d replicas; %d times a replica refused a dead token, the median after %s, the last after %s",
		n, servers, r.created, r.asked.Load(), r.launched, len(r.died), r.died[len(r.died)/2].Round(time.Millisecond), r.died[len(r.died)-1].Round(time.Millisecond))
}

// rotate brings a new signing key to all API servers, one after the other, with an
// overlap or without one.
func (r *rotating) rotate(t *testing.T, n int) {
	t.Helper()
	left, old := fmt.Sprint("left-", n), r.current
	r.hold(t, left, old)
	fresh := r.newSigner(t, fmt.Sprint("key-", n))
	if r.random.IntN(4) == 0 {
		r.visit(t, func(slot int) { r.serve(t, slot, fresh, old) })
		r.reissue(t, fresh)
		r.mustHold(t, left)
	}
	reissued := r.random.IntN(2) == 0
	for i, slot := range r.random.Perm(len(r.slots)) {
		if i > 0 {
			r.pause(keyRefresh) // one API server has the new key, the other one the old
		}
		r.serve(t, slot, fresh)
		if i == 0 && reissued && len(r.slots) > 1 {
			r.hold(t, "robot", fresh) // too early: only some API servers accept it
			r.askAll(t, "robot", left)
		}
	}
	died := time.Now()
	r.reissue(t, fresh)
	r.deaths.Go(func() { r.watchDeath(t, left, died) })
	r.pause(keyRefresh)
	r.mustHold(t, "robot")
	r.pause(keyRefresh)
	r.mustHold(t, "robot")
}

func (r *rotating) visit(t *testing.T, do func(slot int)) {
	t.Helper()
	for i, slot := range r.random.Perm(len(r.slots)) {
		if i > 0 {
			r.pause(keyRefresh)
		}
		do(slot)
	}
}

// pause is some time around the given one.
func (r *rotating) pause(d time.Duration) { time.Sleep(d/2 + rand.N(d)) }

// reissue puts a token that all API servers accept into the Secret of the robot, and
// creates a pod at once: by an API server, and in reviews by each replica.
func (r *rotating) reissue(t *testing.T, key *signer) {
	t.Helper()
	r.hold(t, "robot", key)
	r.current = key
	client := r.slots[r.random.IntN(len(r.slots))].client
	pod := harness.Pod(fmt.Sprint("pod-", r.created), harness.RunAs("robot"), harness.SecretVolume("robot", false))
	if _, err := client.CoreV1().Pods(home).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Errorf("the pod with the token that was just issued: %v", err)
	}
	r.created++
	r.mustHold(t, "robot")
}

// mustHold wants no replica to refuse Secrets whose tokens all API servers accept.
func (r *rotating) mustHold(t *testing.T, secrets ...string) {
	t.Helper()
	for name, verdicts := range r.askAll(t, secrets...) {
		for _, v := range verdicts {
			if v.verdict == "invalid" {
				t.Errorf("%s is refused though all API servers accept its token: %s", name, v.message)
			}
		}
	}
}

type answer struct{ verdict, message string }

// askAll asks all replicas about Secrets.
func (r *rotating) askAll(t *testing.T, secrets ...string) map[string][]answer {
	t.Helper()
	out := map[string][]answer{}
	for _, name := range secrets {
		for _, replica := range r.running() {
			verdict, message, err := verdictOn(t, replica.asker, name)
			if err != nil {
				t.Fatal(err)
			}
			r.asked.Add(1)
			out[name] = append(out[name], answer{verdict, message})
		}
	}
	return out
}

// watchDeath wants each replica to refuse a token in time that no API server accepts
// any more.
func (r *rotating) watchDeath(t *testing.T, secret string, died time.Time) {
	t.Helper()
	var all sync.WaitGroup
	for _, replica := range r.running() {
		all.Go(func() {
			for {
				verdict, _, err := verdictOn(t, replica.asker, secret)
				r.asked.Add(1)
				took := time.Since(died)
				switch {
				case replica.killed.Load():
					return
				case err != nil:
					t.Error(err)
					return
				case verdict == "invalid":
					r.noteDeath(secret, took)
					return
				case took > keySettle+2*keyRefresh+slowMachine:
					t.Errorf("%s is %s %s after the last API server stopped to accept its token", secret, verdict, took)
					return
				}
				time.Sleep(200 * time.Millisecond)
			}
		})
	}
	all.Wait()
}

// mustAgree wants the same answers from all replicas, however long each has run:
// about tokens that are dead, new, perhaps another cluster's, and signed by a key
// that no API server ever had.
func (r *rotating) mustAgree(t *testing.T, within time.Duration) {
	t.Helper()
	want := map[string]string{"robot": "valid", "foreign": "unknown", "forged": "invalid"}
	for _, name := range r.dead() {
		want[name] = "invalid"
	}
	err := cluster.Eventually(t.Context(), within, func(context.Context) error {
		for name, verdict := range want {
			for i, v := range r.askAll(t, name)[name] {
				if v.verdict != verdict {
					return fmt.Errorf("replica %d says that %s is %s, not %s: %s", i, name, v.verdict, verdict, v.message)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
