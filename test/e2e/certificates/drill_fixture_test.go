package certificates

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// drill is a release of the chart with failurePolicy Fail, that makes its own
// certificate. Its replicas stand behind a balancer, and a stream of pods should
// all pass.
type drill struct {
	*harness.Deployed
	balancer *serviceBalancer
	stream   *stream
}

// way is how the API server reaches the webhook.
type way string

const (
	// byService is what production does: HTTP/1.1 to the Service's name.
	byService way = "by Service"
	// byURL gets HTTP/2, since the host is local.
	byURL way = "by URL"
)

// clientConfig returns what to put in place of a release's own way, if anything.
func (d *drill) clientConfig(how way) func(path string) admissionregistrationv1.WebhookClientConfig {
	if how == byService {
		return nil
	}
	return func(path string) admissionregistrationv1.WebhookClientConfig {
		url := "https://" + d.balancer.address + path
		return admissionregistrationv1.WebhookClientConfig{URL: &url}
	}
}

// newRelease installs the chart, without webhook configurations and replicas.
func newRelease(t *testing.T, flags ...string) *drill {
	t.Helper()
	made, err := env.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "drill-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods := made.Name + "-pods"
	_, err = env.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: pods}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	release := chart.Release{Name: made.Name, Namespace: made.Name}
	installed := harness.Install(t, env.Plane, release.With(map[string]any{"webhook": map[string]any{"failurePolicy": "Fail"}}))
	d := &drill{Deployed: harness.Deploy(t, env.Client, installed)}
	d.PodNamespace = pods
	d.Flags = append(d.Flags, flags...)
	return d
}

// startDrill begins a drill: two replicas are ready, and pods pass.
func startDrill(t *testing.T, how way, flags ...string) *drill {
	t.Helper()
	d := newRelease(t, append([]string{"--policy-file=" + harness.PolicyFile(t, harness.StrictPolicy)}, flags...)...)
	d.balancer = newServiceBalancer(t)
	d.prepare(t)
	d.Configure(t, d.clientConfig(how))
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
	harness.WaitUntil(t, func() error {
		_, err := d.Client.CoreV1().ServiceAccounts(d.PodNamespace).Get(t.Context(), "default", metav1.GetOptions{})
		if err != nil {
			return err
		}
		_, err = d.Client.CoreV1().ConfigMaps(d.PodNamespace).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
	_, err := d.Client.CoreV1().Secrets(d.PodNamespace).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "there"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	service, err := chart.Into[corev1.Service](d.Objects, "Service")
	if err != nil {
		t.Fatal(err)
	}
	if service, err = d.Client.CoreV1().Services(d.Namespace).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	network.route(service.Spec.ClusterIP, d.balancer.carry)
}

// addReplica starts one more replica behind the balancer, if there is one.
func (d *drill) addReplica(t *testing.T) *harness.Server {
	t.Helper()
	s := d.AddReplica(t)
	if d.balancer != nil {
		d.balancer.add(s)
	}
	return s
}

// retire ends the oldest replica as Kubernetes does.
func (d *drill) retire(t *testing.T) {
	t.Helper()
	old := d.Replicas[0]
	if err := old.Stop(t); err != nil {
		t.Errorf("exit status: %v", err)
	}
	d.balancer.remove(old)
	d.Replicas = d.Replicas[1:]
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
				_, err := d.Client.CoreV1().Pods(d.PodNamespace).Create(ctx, harness.Pod(fmt.Sprintf("p-%d-%d", worker, i), harness.SecretVolume("there", false)), metav1.CreateOptions{})
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
	harness.WaitUntil(t, func() error {
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
	_, err := d.Client.CoreV1().Pods(d.PodNamespace).Create(t.Context(), harness.Pod("bad", harness.SecretVolume("gone", false)), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), `Secret "gone"`) {
		t.Errorf("a pod without its Secret is not refused: %v", err)
	}
}

// noRightIsMissing fails the test if the API server refused a replica anything.
func (d *drill) noRightIsMissing(t *testing.T) {
	t.Helper()
	for _, s := range d.Replicas {
		if strings.Contains(s.Log.String(), "is forbidden: User") {
			t.Error("the release lacks a right: see the log")
		}
	}
}
