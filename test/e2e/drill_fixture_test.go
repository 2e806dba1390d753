package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"tokenward.dev/tokenward/test/cluster"
)

// range of a drill: a control plane that reaches the webhook through a balancer.
type drillGround struct {
	plane  *cluster.Cluster
	client kubernetes.Interface
	socket string
}

func newDrillGround(t *testing.T) *drillGround {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	g := &drillGround{socket: socket}
	g.plane, g.client = ownPlaneWith(t, map[string]string{"egress-selector-config-file": serviceNetwork(t, socket)})
	return g
}

// drill is two replicas behind a balancer, asked about the pods of a namespace
// with failurePolicy Fail, and a stream of pods that should all pass.
type drill struct {
	*drillGround
	ns       string // where Tokenward is, and where the pods are
	name     string // of the webhook configuration
	flags    []string
	balancer *serviceBalancer
	replicas []*server
	stream   *stream
}

// register says how a webhook configuration points at the balancer.
type register func(d *drill, path string) admissionregistrationv1.WebhookClientConfig

// byService is what production does: HTTP/1.1 to the Service's name.
func byService(d *drill, path string) admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: d.ns, Name: "tokenward", Path: &path}}
}

// byURL gets HTTP/2, since the host is local.
func byURL(d *drill, path string) admissionregistrationv1.WebhookClientConfig {
	url := "https://" + d.balancer.address + path
	return admissionregistrationv1.WebhookClientConfig{URL: &url}
}

func (g *drillGround) start(t *testing.T, how register, flags ...string) *drill {
	t.Helper()
	d := &drill{drillGround: g, balancer: newServiceBalancer(t, g.socket)}
	ns, err := g.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "drill-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.ns, d.name = ns.Name, ns.Name
	d.flags = append([]string{
		"--pod-namespace=" + d.ns, "--webhook-configuration=" + d.name, "--policy-file=" + policyFile(t, strict),
	}, flags...)
	d.prepare(t)
	d.configure(t, how)
	for range 2 {
		d.addReplica(t)
	}
	d.balancer.waitReady(t, 2)
	d.stream = d.newStream(t)
	return d
}

// prepare makes what the pods of the stream need, and the Service.
func (d *drill) prepare(t *testing.T) {
	t.Helper()
	waitUntil(t, func() error {
		_, err := d.client.CoreV1().ServiceAccounts(d.ns).Get(t.Context(), "default", metav1.GetOptions{})
		if err != nil {
			return err
		}
		_, err = d.client.CoreV1().ConfigMaps(d.ns).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
	_, err := d.client.CoreV1().Secrets(d.ns).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "there"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.client.CoreV1().Services(d.ns).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "tokenward"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// configure makes the webhook configurations, without a caBundle.
func (d *drill) configure(t *testing.T, how register) {
	t.Helper()
	config := loadConfiguration(t)
	pods := config.Webhooks[0]
	pods.ClientConfig = how(d, "/validate/pods")
	fail := admissionregistrationv1.Fail
	pods.FailurePolicy = &fail
	pods.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: d.ns}}
	_, err := d.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: d.name}, Webhooks: []admissionregistrationv1.ValidatingWebhook{pods},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(context.Background(), d.name, metav1.DeleteOptions{})
	})
	// One that is never asked: its caBundle counts as well.
	_, err = d.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: d.name}, Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "mutate.pods.tokenward.dev", ClientConfig: how(d, "/mutate/pods"), SideEffects: pods.SideEffects,
			AdmissionReviewVersions: pods.AdmissionReviewVersions,
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(context.Background(), d.name, metav1.DeleteOptions{})
	})
}

func (d *drill) addReplica(t *testing.T) {
	t.Helper()
	s := replica(t, d.plane.Kubeconfig, d.flags...)
	d.replicas = append(d.replicas, s)
	d.balancer.add(s)
}

// retire ends the oldest replica as Kubernetes does.
func (d *drill) retire(t *testing.T) {
	t.Helper()
	old := d.replicas[0]
	if err := old.stop(t); err != nil {
		t.Errorf("exit status: %v", err)
	}
	d.balancer.remove(old)
	d.replicas = d.replicas[1:]
}

// stream creates pods that should pass, until it is stopped.
type stream struct {
	stop     context.CancelFunc
	done     sync.WaitGroup
	passed   atomic.Int64
	mu       sync.Mutex
	failures []failure
}

// failure is a pod that was refused because the webhook could not be asked.
type failure struct {
	at  time.Time
	err error
}

const (
	streamWorkers = 6
	streamPause   = 25 * time.Millisecond
)

func (d *drill) newStream(t *testing.T) *stream {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &stream{stop: stop}
	for worker := range streamWorkers {
		s.done.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_, err := d.client.CoreV1().Pods(d.ns).Create(ctx, pod(fmt.Sprintf("p-%d-%d", worker, i), secretVolume("there", false)), metav1.CreateOptions{})
				switch {
				case err == nil:
					s.passed.Add(1)
				case strings.Contains(err.Error(), "webhook"):
					s.mu.Lock()
					s.failures = append(s.failures, failure{time.Now(), err})
					s.mu.Unlock()
				} // all else is the API server's own, or the end
				select {
				case <-ctx.Done():
				case <-time.After(streamPause):
				}
			}
		})
	}
	t.Cleanup(func() {
		stop()
		s.done.Wait()
	})
	s.more(t, 50)
	return s
}

// more waits until so many more pods have passed.
func (s *stream) more(t *testing.T, n int64) {
	t.Helper()
	from := s.passed.Load()
	waitUntil(t, func() error {
		if s.passed.Load() < from+n {
			return errors.New("the stream of pods stands still: " + s.last())
		}
		return nil
	})
}

func (s *stream) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failures) == 0 {
		return "no failure"
	}
	return s.failures[len(s.failures)-1].err.Error()
}

// end stops the stream, and returns its failures and how long they lasted.
func (s *stream) end(t *testing.T) ([]failure, time.Duration) {
	t.Helper()
	s.more(t, 50)
	s.stop()
	s.done.Wait()
	lasted := time.Duration(0)
	if n := len(s.failures); n > 0 {
		lasted = s.failures[n-1].at.Sub(s.failures[0].at)
	}
	t.Logf("%d pods passed, %d failed, within %s", s.passed.Load(), len(s.failures), lasted)
	return s.failures, lasted
}

// finish ends a drill that must not cost one pod. That pods without what they
// need are refused to the end shows that the webhook was asked.
func (d *drill) finish(t *testing.T) {
	t.Helper()
	failures, _ := d.stream.end(t)
	for _, f := range failures[:min(len(failures), 3)] {
		t.Errorf("failed: %v", f.err)
	}
	d.stillAsked(t)
}

func (d *drill) stillAsked(t *testing.T) {
	t.Helper()
	_, err := d.client.CoreV1().Pods(d.ns).Create(t.Context(), pod("bad", secretVolume("gone", false)), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), `Secret "gone"`) {
		t.Errorf("a pod without its Secret is not refused: %v", err)
	}
}
