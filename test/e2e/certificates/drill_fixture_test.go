package e2e

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
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/cluster"
)

// drillGround is a control plane that reaches Services.
type drillGround struct {
	plane   *cluster.Cluster
	client  kubernetes.Interface
	network *serviceNetwork
}

func newDrillGround(t *testing.T) *drillGround {
	t.Helper()
	g := &drillGround{network: newServiceNetwork(t)}
	g.plane, g.client = ownPlaneWith(t, map[string]string{"egress-selector-config-file": g.network.egress})
	return g
}

// drill is a release of the chart with failurePolicy Fail, that makes its own
// certificate: its rights, its flags, its webhook configurations. Its replicas
// are processes behind a balancer, and a stream of pods should all pass.
type drill struct {
	*drillGround
	*installation
	ns       string // of the release
	pods     string // the namespace that it is asked about
	name     string // of the webhook configurations, and the Service
	flags    []string
	balancer *serviceBalancer
	replicas []*server
	stream   *stream
}

// register says how the API server is to reach a path of the webhook. The
// release's own way, nil, is what production does: HTTP/1.1 to the Service's name.
type register func(d *drill, path string) admissionregistrationv1.WebhookClientConfig

// byURL gets HTTP/2, since the host is local.
func byURL(d *drill, path string) admissionregistrationv1.WebhookClientConfig {
	url := "https://" + d.balancer.address + path
	return admissionregistrationv1.WebhookClientConfig{URL: &url}
}

// release installs the chart, without webhook configurations and replicas.
func (g *drillGround) release(t *testing.T, flags ...string) *drill {
	t.Helper()
	made, err := g.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "drill-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d := &drill{drillGround: g, ns: made.Name, pods: made.Name + "-pods"}
	_, err = g.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: d.pods}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	release := chart.Release{Name: d.ns, Namespace: d.ns}
	d.name = release.Fullname()
	d.installation = installIn(t, g.plane, release.With(map[string]any{"webhook": map[string]any{"failurePolicy": "Fail"}}))
	deployment, err := chart.Into[appsv1.Deployment](d.objects, "Deployment")
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range deployment.Spec.Template.Spec.Containers[0].Args {
		d.flags = append(d.flags, strings.ReplaceAll(arg, "$(POD_NAMESPACE)", d.ns))
	}
	d.flags = append(d.flags, flags...)
	return d
}

// start begins a drill: two replicas are ready, and pods pass.
func (g *drillGround) start(t *testing.T, how register, flags ...string) *drill {
	t.Helper()
	d := g.release(t, append([]string{"--policy-file=" + policyFile(t, strict)}, flags...)...)
	d.balancer = newServiceBalancer(t)
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
		_, err := d.client.CoreV1().ServiceAccounts(d.pods).Get(t.Context(), "default", metav1.GetOptions{})
		if err != nil {
			return err
		}
		_, err = d.client.CoreV1().ConfigMaps(d.pods).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
	_, err := d.client.CoreV1().Secrets(d.pods).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "there"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	service, err := chart.Into[corev1.Service](d.objects, "Service")
	if err != nil {
		t.Fatal(err)
	}
	if service, err = d.client.CoreV1().Services(d.ns).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	d.network.route(service.Spec.ClusterIP, d.balancer.carry)
}

// configure makes the release's webhook configurations, which have no caBundle.
// They are asked about the namespace of the pods alone.
func (d *drill) configure(t *testing.T, how register) {
	t.Helper()
	only := metav1.LabelSelectorRequirement{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{d.pods}}
	change := func(selector, objects **metav1.LabelSelector, c *admissionregistrationv1.WebhookClientConfig) {
		if *selector == nil { // policies have no namespace, and other tests have policies
			*objects = &metav1.LabelSelector{MatchLabels: map[string]string{"no": "such"}}
		} else {
			(*selector).MatchExpressions = append((*selector).MatchExpressions, only)
		}
		if how != nil {
			*c = how(d, *c.Service.Path)
		}
	}
	v, err1 := d.validating()
	m, err2 := d.mutating()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for i := range v.Webhooks {
		change(&v.Webhooks[i].NamespaceSelector, &v.Webhooks[i].ObjectSelector, &v.Webhooks[i].ClientConfig)
	}
	for i := range m.Webhooks {
		change(&m.Webhooks[i].NamespaceSelector, &m.Webhooks[i].ObjectSelector, &m.Webhooks[i].ClientConfig)
	}
	api := d.client.AdmissionregistrationV1()
	_, err1 = api.ValidatingWebhookConfigurations().Create(t.Context(), v, metav1.CreateOptions{})
	_, err2 = api.MutatingWebhookConfigurations().Create(t.Context(), m, metav1.CreateOptions{})
	t.Cleanup(func() {
		_ = api.ValidatingWebhookConfigurations().Delete(context.Background(), d.name, metav1.DeleteOptions{})
		_ = api.MutatingWebhookConfigurations().Delete(context.Background(), d.name, metav1.DeleteOptions{})
	})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
}

func (d *drill) addReplica(t *testing.T) *server {
	t.Helper()
	s := replica(t, d.kubeconfig, d.flags...)
	d.replicas = append(d.replicas, s)
	if d.balancer != nil {
		d.balancer.add(s)
	}
	return s
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
				_, err := d.client.CoreV1().Pods(d.pods).Create(ctx, pod(fmt.Sprintf("p-%d-%d", worker, i), secretVolume("there", false)), metav1.CreateOptions{})
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
	_, err := d.client.CoreV1().Pods(d.pods).Create(t.Context(), pod("bad", secretVolume("gone", false)), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), `Secret "gone"`) {
		t.Errorf("a pod without its Secret is not refused: %v", err)
	}
}

// noRightIsMissing fails the test if the API server refused a replica anything.
func (d *drill) noRightIsMissing(t *testing.T) {
	t.Helper()
	for _, s := range d.replicas {
		if strings.Contains(s.log.String(), "is forbidden: User") {
			t.Error("the release lacks a right: see the log")
		}
	}
}
