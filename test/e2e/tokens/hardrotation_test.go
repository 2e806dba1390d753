package tokens

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// forAll denies what is missing, in all namespaces. The second policy is deleted
// while no replica can see it.
const forAll = `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: all}, spec: {
checks: [{name: secret-exists, action: Deny}, {name: secret-key-exists, action: Deny}]}}
---
{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: deleted-meanwhile}, spec: {checks: [{name: config-map-exists, action: Deny}]}}`

// recovery is how soon all must be well after the token file was renewed.
const recovery = 2 * time.Second

// ownTokenDeadFor is how long TestPodsAreCreatedThroughAHardRotation lets the token
// of the webhook be dead: less than a minute, unless ROTATIONS asks for thoroughness.
func ownTokenDeadFor() time.Duration {
	if os.Getenv("ROTATIONS") == "" {
		return 20 * time.Second
	}
	return time.Minute
}

// hardRotation is a cluster in which the webhook, with policies for all and for one
// team, is asked by the API server under failurePolicy: Fail.
type hardRotation struct {
	*ownToken
	policies                 dynamic.ResourceInterface
	webhooks                 *balancer
	certificates             string
	ca                       []byte
	created, refused, missed atomic.Int64
	load                     sync.WaitGroup
}

func newHardRotation(t *testing.T) *hardRotation {
	t.Helper()
	h := &hardRotation{ownToken: newOwnToken(t), webhooks: newBalancer(t), certificates: t.TempDir()}
	h.ca = harness.WriteCertificate(t, h.certificates)
	c, err := dynamic.NewForConfig(h.plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	h.policies = c.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.TokenPolicyResource))
	sample, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "samples", "3-strict-for-one-team.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range harness.Documents(t, forAll+"\n---\n"+string(sample)) {
		if _, err := h.policies.Create(t.Context(), p, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil {
			t.Fatal(err)
		}
	}
	h.furnish(t, "shop", nil)
	h.furnish(t, "payments", map[string]string{"team": "payments"})
	return h
}

// furnish makes a namespace with what good pods need.
func (h *hardRotation) furnish(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	core := h.client.CoreV1()
	if _, err := core.Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "there"}, Data: map[string][]byte{"k": []byte("x")}}
	if _, err := core.Secrets(name).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	harness.WaitUntil(t, func() error {
		_, account := core.ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		_, ca := core.ConfigMaps(name).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		return errors.Join(account, ca)
	})
}

func (h *hardRotation) replica(t *testing.T) *harness.Server {
	t.Helper()
	s := harness.Launch(t, "--kubeconfig="+h.kubeconfig, "--log-level=info", "--leader-elect", "--pod-namespace="+h.installed.Release.Namespace, "--cert-dir="+h.certificates)
	s.CA = h.ca
	return s
}

// reach sends the API server's reviews to these replicas.
func (h *hardRotation) reach(replicas ...*harness.Server) {
	var ports []string
	for _, s := range replicas {
		ports = append(ports, "127.0.0.1:"+strconv.Itoa(s.Port))
	}
	h.webhooks.targets.Store(&ports)
}

func good() *corev1.Pod {
	return harness.Pod("", harness.SecretVolume("there", false), harness.SecretVariable("there", "k"), harness.ConfigVolume("kube-root-ca.crt"))
}

func bad() *corev1.Pod { return harness.Pod("", harness.SecretVolume("gone", false)) }

// create creates 20 pods a second until the context ends. What is good outside the
// strict team is never refused; what is bad in the strict team always is.
func (h *hardRotation) create(ctx context.Context, t *testing.T) {
	t.Helper()
	kinds := []struct {
		namespace string
		pod       func() *corev1.Pod
		wrong     func(err error) bool
	}{
		{"shop", good, func(err error) bool { return err != nil }},
		{"payments", bad, func(err error) bool { return err == nil }},
		{"shop", good, func(err error) bool { return err != nil }},
		{"shop", bad, func(err error) bool { return err != nil && !strings.Contains(err.Error(), "TokenPolicy all") }},
	}
	h.load.Go(func() {
		tick := time.NewTicker(time.Second / 20)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			kind := kinds[n%len(kinds)]
			h.load.Go(func() {
				pod := kind.pod()
				pod.GenerateName = "load-"
				_, err := h.client.CoreV1().Pods(kind.namespace).Create(context.WithoutCancel(ctx), pod, metav1.CreateOptions{})
				switch {
				case err != nil && !apierrors.IsForbidden(err) && !strings.Contains(err.Error(), "webhook"):
					h.missed.Add(1) // the API server restarts
					return
				case err != nil:
					h.refused.Add(1)
				default:
					h.created.Add(1)
				}
				if kind.wrong(err) {
					t.Errorf("a pod in %s: %v", kind.namespace, err)
				}
			})
		}
	})
}

// answers reports whether a replica, asked about a pod in the namespace shop, says
// so. One that is not ready says nothing.
func (h *hardRotation) answers(t *testing.T, a *harness.Asker, pod *corev1.Pod, allowed bool) bool {
	t.Helper()
	r, err := a.Ask(t.Context(), harness.ReviewBodyIn(t, "shop", named("asked", pod)))
	return err == nil && r.Allowed == allowed
}

// While the webhook's own token is dead pods are created, a replica is killed and a
// policy is deleted.
func TestPodsAreCreatedThroughAHardRotation(t *testing.T) {
	h := newHardRotation(t)
	first, second := h.replica(t), h.replica(t)
	first.WaitReady(t)
	second.WaitReady(t)
	h.reach(first, second)
	e := harness.Env{Plane: h.plane, Client: h.client, Standard: h.installed}
	e.RegisterAt(t, "https://"+h.webhooks.listener.Addr().String(), h.ca, metav1.LabelSelectorRequirement{
		Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{"shop", "payments"},
	})
	harness.WaitUntil(t, func() error {
		if _, err := h.client.CoreV1().Pods("shop").Create(t.Context(), named("probe", bad()), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err == nil {
			return errors.New("the webhook is not asked yet")
		}
		return nil
	})
	loading, stop := context.WithCancel(t.Context())
	defer stop()
	h.create(loading, t)

	private, public, _ := h.newRSA(t, "new")
	if err := h.plane.UseSigningKey(private, public); err != nil {
		t.Fatal(err)
	}
	rotated := time.Now()
	rejected(t, first)
	if !h.answers(t, first.Asker(t), bad(), true) {
		t.Error("what can't be confirmed is refused: the token is not dead")
	}
	h.reach(first)
	_ = second.Command.Process.Kill()
	late := h.replica(t)
	if err := h.policies.Delete(t.Context(), "deleted-meanwhile", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	rejected(t, late)
	unready(t, late)
	time.Sleep(time.Until(rotated.Add(ownTokenDeadFor())))

	h.renew(t)
	renewed := time.Now()
	h.mustRecover(t, renewed, first, late)
	h.reach(first, late)
	time.Sleep(2 * time.Second) // under load, by both
	stop()
	h.load.Wait()
	accepted(t, first)
	accepted(t, late)
	if h.created.Load() == 0 || h.refused.Load() == 0 {
		t.Error("the load was no load")
	}
	t.Logf("the token was dead for %s; %d pods created, %d refused, %d did not reach the API server", renewed.Sub(rotated).Round(time.Second), h.created.Load(), h.refused.Load(), h.missed.Load())
}

func named(name string, p *corev1.Pod) *corev1.Pod {
	p.Name = name
	return p
}

// mustRecover wants each replica soon to be ready, to refuse what is missing, and to
// have noticed that a policy was deleted.
func (h *hardRotation) mustRecover(t *testing.T, renewed time.Time, replicas ...*harness.Server) {
	t.Helper()
	var group sync.WaitGroup
	for i, s := range replicas {
		a := s.Asker(t)
		for what, holds := range map[string]func() bool{
			"ready": func() bool {
				code, _ := s.Get(s.Health, "/readyz")
				return code == http.StatusOK
			},
			"refuses what is missing":          func() bool { return h.answers(t, a, bad(), false) },
			"has lost the policy that is gone": func() bool { return h.answers(t, a, harness.Pod("", harness.ConfigVolume("gone")), true) },
		} {
			group.Go(func() {
				for !holds() && time.Since(renewed) < harness.Patience {
					time.Sleep(20 * time.Millisecond)
				}
				took := time.Since(renewed).Round(time.Millisecond)
				t.Logf("replica %d: %s %s after the token file was renewed", i, what, took)
				if took > recovery {
					t.Errorf("replica %d: %s only after %s", i, what, took)
				}
			})
		}
	}
	group.Wait()
}
