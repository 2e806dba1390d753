package certificates

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// shortLived makes certificates be renewed every seven seconds, and their CA
// every half minute, which issues half a second after it was published.
const (
	shortLived = "--serving-cert-lifetime=10s"
	settled    = 500 * time.Millisecond

	// settlesSoon ends after ten seconds, instead of ten minutes, the time in which a
	// new Secret leaves in caBundle what replicas may have put there without it.
	settlesSoon = "--serving-cert-lifetime=20s"
)

// What happens in the life of a cluster costs not one pod, though the
// webhook fails closed; and where it must cost some, their number is bounded.
// Those that take long wait most of the time, and run side by side; the others
// one by one, since one of them restarts the API server.
func TestDrills(t *testing.T) {
	type row struct {
		name  string
		drill func(*testing.T, way)
		how   way
	}
	t.Run("side by side", func(t *testing.T) {
		for _, d := range []row{
			{"certificate and CA rotated, by Service", drillRotation, byService},
			{"certificate and CA rotated, by URL", drillRotation, byURL},
			{"leader lost", drillLeaderLost, byService},
			{"serving Secret deleted, and every replica replaced", drillSecretDeleted, byService},
		} {
			t.Run(d.name, func(t *testing.T) {
				t.Parallel()
				d.drill(t, d.how)
			})
		}
	})
	for _, d := range []row{
		{"rolling restart, by Service", drillRollingRestart, byService},
		{"rolling restart, by URL", drillRollingRestart, byURL},
		{"API server restarted", drillAPIServerRestarted, byService},
		{"replica killed, by Service", drillReplicaKilled, byService},
		{"replica killed, by URL", drillReplicaKilled, byURL},
		{"caBundle emptied by hand", drillBundleEmptied, byService},
	} {
		t.Run(d.name, func(t *testing.T) { d.drill(t, d.how) })
	}
}

func drillRollingRestart(t *testing.T, how way) {
	d := startDrill(t, how)
	for range 4 {
		d.addReplica(t)
		d.balancer.waitReady(t, 3)
		d.retire(t)
		d.stream.more(t, 50)
	}
	d.finish(t)
}

// The old CA makes way for a new one: first both are trusted, then the new one
// issues, and in the end the old one is trusted no more. Meanwhile the serving
// certificate is renewed several times.
func drillRotation(t *testing.T, how way) {
	d := startDrill(t, how, shortLived)
	d.shakeHands(t)
	first := d.authorities(t)
	if len(first) != 1 {
		t.Fatalf("%d authorities at first", len(first))
	}
	served := map[string]bool{}
	stage := func(what string, reached func() bool) {
		t.Helper()
		eventually(t, 2*time.Minute, func() error {
			for _, s := range d.Replicas {
				served[d.served(t, s).SerialNumber.String()] = true
			}
			if !reached() {
				return errors.New("not " + what)
			}
			return nil
		})
	}
	issuedBy := func(i int) bool { return d.served(t, d.Replicas[i]).CheckSignatureFrom(first[0]) == nil }
	var one time.Time // when there was but one authority, for sure
	stage("two authorities", func() bool {
		now := time.Now()
		if len(d.authorities(t)) == 2 {
			return true
		}
		one = now
		return false
	})
	// On a machine that is too busy for that nothing can be said.
	if early := !issuedBy(0) || !issuedBy(1); early && time.Since(one) < settled {
		t.Error("a replica serves with the new CA before it can have been seen")
	}
	stage("served with the new CA by both", func() bool { return !issuedBy(0) && !issuedBy(1) })
	if len(d.authorities(t)) != 2 {
		t.Error("the old CA is not trusted while its certificates may be in use")
	}
	stage("rid of the old CA", func() bool {
		all := d.authorities(t)
		return len(all) == 1 && !all[0].Equal(first[0])
	})
	if len(served) < 4 {
		t.Errorf("only %d certificates were served", len(served))
	}
	t.Logf("%d certificates were served", len(served))
	d.finish(t)
	d.noRightIsMissing(t)
}

// Nobody may create Secrets for the webhook: replicas go on with what they have in
// memory, and those that take their place make authorities of their own.
func drillSecretDeleted(t *testing.T, how way) {
	d := startDrill(t, how, "--serving-cert-lifetime=60s") // authorities are known after 3 s
	if err := d.Client.CoreV1().Secrets(d.Namespace).Delete(t.Context(), d.Name+"-serving", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	first := d.Replicas[:2]
	for range 2 {
		d.addReplica(t).WaitReady(t)
		d.balancer.waitReady(t, 3)
		d.retire(t)
		d.stream.more(t, 50)
	}
	for _, s := range d.Replicas {
		for _, old := range first {
			if s == old {
				t.Fatal("a replica was not replaced")
			}
		}
		s.WaitLog(t, `make it again with \"helm upgrade\"`)
	}
	if d.served(t, d.Replicas[0]).Equal(d.served(t, d.Replicas[1])) {
		t.Error("the replicas share a certificate, and there is no Secret")
	}
	d.Upgrade(t, env.Plane, "Secret")
	eventually(t, time.Minute, func() error { // that for which they gather what they have
		if !d.served(t, d.Replicas[0]).Equal(d.served(t, d.Replicas[1])) {
			return errors.New("the replicas do not serve with one certificate again")
		}
		return d.Mended()
	})
	d.finish(t)
	d.noRightIsMissing(t)
}

// Another takes the Lease. There is no leader for a while, and certificates are
// renewed all the same.
func drillLeaderLost(t *testing.T, how way) {
	d := startDrill(t, how, shortLived, "--leader-elect")
	leader := d.leader(t)
	patch := fmt.Sprintf(`{"spec":{"holderIdentity":"somebody else","leaseDurationSeconds":15,"renewTime":%q}}`, time.Now().UTC().Format(metav1.RFC3339Micro))
	if _, err := d.Client.CoordinationV1().Leases(d.Namespace).Patch(t.Context(), "tokenward-leader", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	leader.WaitLog(t, `"Not leading"`)
	before := d.served(t, leader)
	eventually(t, time.Minute, func() error {
		if d.served(t, leader).Equal(before) {
			return errors.New("the certificate is not renewed without a leader")
		}
		return nil
	})
	eventually(t, time.Minute, func() error {
		led := 0
		for _, s := range d.Replicas {
			led += strings.Count(s.Log.String(), `"Leading"`)
		}
		if led < 2 {
			return errors.New("nobody leads again")
		}
		return nil
	})
	d.finish(t)
}

func drillAPIServerRestarted(t *testing.T, how way) {
	d := startDrill(t, how)
	if err := env.Plane.RestartAPIServer(func() {}); err != nil {
		t.Fatal(err)
	}
	d.stream.more(t, 200)
	d.finish(t)
	// The replicas look after caBundle again.
	d.setBundles(t, nil)
	eventually(t, harness.Patience, d.Mended)
}

// The limits of what the loss of a replica, or of caBundle, may cost. What it is
// when nothing else keeps the machine busy is logged, and far less.
const (
	mostFailures = 60
	longest      = 5 * time.Second
)

func drillReplicaKilled(t *testing.T, how way) {
	d := startDrill(t, how)
	if err := d.Replicas[0].Command.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-d.Replicas[0].Exited; err == nil {
		t.Error("it ended in peace")
	}
	d.stream.more(t, 200)
	d.limited(t)
}

func drillBundleEmptied(t *testing.T, how way) {
	d := startDrill(t, how, settlesSoon)
	for _, bundle := range [][]byte{nil, harness.ForeignCA(t)} {
		d.setBundles(t, bundle)
		began := time.Now()
		eventually(t, harness.Patience, d.Mended)
		t.Logf("mended within %s", time.Since(began))
		d.stream.more(t, 50)
	}
	d.limited(t)
	d.noRightIsMissing(t)
}

// limited ends a drill that may cost some pods, but not many and not for long.
func (d *drill) limited(t *testing.T) {
	t.Helper()
	failures, lasted := d.stream.end(t)
	if len(failures) > mostFailures || lasted > longest {
		t.Errorf("%d pods failed within %s; at most %d within %s may", len(failures), lasted, mostFailures, longest)
	}
	d.stillAsked(t)
}
