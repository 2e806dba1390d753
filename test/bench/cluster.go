package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"tokenward.dev/tokenward/test/cluster"
)

// cluster measures against a real control plane: memory, time to ready, and
// what the creation of a pod costs.
func (b *bench) cluster(ctx context.Context) (err error) {
	if b.secrets == 0 {
		return nil
	}
	logf.SetLogger(logr.Discard())
	plane, err := cluster.Start()
	defer func() {
		if stopErr := plane.Stop(); err == nil && stopErr != nil {
			fmt.Println("stop:", stopErr)
		}
	}()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(plane.Config)
	if err != nil {
		return err
	}
	fmt.Print("With a real control plane and Secrets of 2 KB\n\n| what | measured |\n|---|---|\n")
	base, _, err := b.memory(ctx, plane.Kubeconfig)
	if err != nil {
		return err
	}
	if err := fill(ctx, client, 0, b.secrets/2); err != nil {
		return err
	}
	start := time.Now()
	ready, err := b.start(ctx, "tokenward", plane.Kubeconfig, strict)
	if err != nil {
		return err
	}
	fmt.Printf("| time from start to ready at %d Secrets | %s |\n", b.secrets/2, time.Since(start).Round(time.Millisecond))
	if err := ready.stop(); err != nil {
		return err
	}
	if err := fill(ctx, client, b.secrets/2, b.secrets); err != nil {
		return err
	}
	heap, resident, err := b.memory(ctx, plane.Kubeconfig)
	if err != nil {
		return err
	}
	fmt.Printf("| heap for each Secret at %d | %.0f bytes |\n", b.secrets, (heap-base)/float64(b.secrets))
	fmt.Printf("| resident at %d Secrets | %.0f MiB |\n", b.secrets, resident/(1<<20))
	return b.pods(ctx, client, plane.Kubeconfig)
}

// memory returns heap and resident bytes of a server some time after it is ready.
func (b *bench) memory(ctx context.Context, kubeconfig string) (heap, resident float64, err error) {
	p, err := b.start(ctx, "tokenward", kubeconfig, strict)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = p.stop() }()
	if heap, err = p.leastHeap(ctx, 20*time.Second); err != nil {
		return 0, 0, err
	}
	resident, err = p.resident()
	return heap, resident, err
}

// leastHeap returns the least heap that is seen for some time: garbage is not
// the index.
func (p *process) leastHeap(ctx context.Context, span time.Duration) (float64, error) {
	client := p.client(false)
	defer client.CloseIdleConnections()
	least := math.Inf(1)
	for end := time.Now().Add(span); time.Now().Before(end); {
		// Reviews make garbage, so that the collector runs.
		if _, _, err := post(ctx, client, p.url(), denyBody()); err != nil {
			return 0, err
		}
		heap, err := p.metric("go_memstats_heap_alloc_bytes")
		if err != nil {
			return 0, err
		}
		least = min(least, heap)
	}
	return least, nil
}

func fill(ctx context.Context, client kubernetes.Interface, from, to int) error {
	for n := range 200 {
		name := "team-" + strconv.Itoa(n)
		if _, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{}); err == nil {
			continue
		}
		if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	var next atomic.Int64
	next.Store(int64(from))
	var mu sync.Mutex
	var failed error
	var group sync.WaitGroup
	value := []byte(strings.Repeat("x", 2048))
	for range 16 {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(to); i = next.Add(1) - 1 {
				secret := &corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("app-%d-credentials-%d", i%500, i)}, Data: map[string][]byte{"value": value},
				}
				if _, err := client.CoreV1().Secrets("team-"+strconv.FormatInt(i%200, 10)).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
			}
		})
	}
	group.Wait()
	return failed
}

// pods measures the creation of a pod with no webhook, the bare one, and ours.
func (b *bench) pods(ctx context.Context, client kubernetes.Interface, kubeconfig string) error {
	latencies := map[string][]time.Duration{}
	names := []string{"none", "bare", "tokenward"}
	for _, name := range names {
		p := &process{}
		if name != "none" {
			var err error
			if p, err = b.start(ctx, name, kubeconfig, strict); err != nil {
				return err
			}
			if err := register(ctx, client, p); err != nil {
				return err
			}
		}
		for i := range 600 {
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%s-%d", name, i)},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{Name: "a", Image: "a", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}}},
					Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "app-0-credentials-0"}}}},
				},
			}
			start := time.Now()
			if _, err := client.CoreV1().Pods("team-0").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
				return err
			}
			if i >= 100 { // the first warm it up
				latencies[name] = append(latencies[name], time.Since(start))
			}
		}
		if name != "none" {
			if err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(ctx, "bench", metav1.DeleteOptions{}); err != nil {
				return err
			}
			if err := p.stop(); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		slices.Sort(latencies[name])
		p50, none := latencies[name][len(latencies[name])/2], latencies["none"][len(latencies["none"])/2]
		fmt.Printf("| creation of a pod, webhook: %s | p50 %s, %.2f times none |\n", name, p50.Round(time.Microsecond), float64(p50)/float64(none))
	}
	return nil
}

func register(ctx context.Context, client kubernetes.Interface, p *process) error {
	url, none, fail, timeout := p.url(), admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail, int32(5)
	url, _, _ = strings.Cut(url, "?")
	_, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "bench"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "bench.tokenward.dev", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: p.ca},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
			SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, FailurePolicy: &fail, TimeoutSeconds: &timeout,
		}},
	}, metav1.CreateOptions{})
	return err
}
