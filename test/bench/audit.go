package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/test/cluster"
)

// The cluster that is audited.
const (
	auditedPods    = 20_000
	auditedSecrets = 10_000
)

// audit measures "kubectl-tokenward audit" over a real control plane.
func (b *bench) audit(ctx context.Context) (err error) {
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
	if err := fill(ctx, client, 0, auditedSecrets); err != nil {
		return err
	}
	if err := fillPods(ctx, client); err != nil {
		return err
	}
	fmt.Printf("An audit of %d pods and %d Secrets of 2 KB in a real control plane\n\n| run | time | CPU | peak memory | pods | workloads with findings |\n|---|---|---|---|---|---|\n", auditedPods, auditedSecrets)
	for run := range 2 {
		command := exec.CommandContext(ctx, b.plugin, "audit", "-A", "-o", "json", "--fail-on=off", "--kubeconfig="+plane.Kubeconfig)
		start := time.Now()
		text, err := command.Output()
		if err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		took := time.Since(start)
		var result report.Audit
		if err := json.Unmarshal(text, &result); err != nil {
			return err
		}
		usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			return fmt.Errorf("audit: what it used is not known")
		}
		cpu := command.ProcessState.SystemTime() + command.ProcessState.UserTime()
		fmt.Printf("| %d | %s | %s | %d MiB | %d | %d |\n", run+1, took.Round(10*time.Millisecond), cpu.Round(10*time.Millisecond),
			usage.Maxrss>>10, result.Judged.Pods, len(result.Workloads))
	}
	return nil
}

// fillPods makes pods of which each mounts a Secret; one in a hundred mounts one
// that is not there.
func fillPods(ctx context.Context, client kubernetes.Interface) error {
	const workers = 16
	var mu sync.Mutex
	var failed error
	var group sync.WaitGroup
	no := false
	for w := range workers {
		group.Go(func() {
			for i := w; i < auditedPods; i += workers {
				n := i % auditedSecrets
				secret := fmt.Sprintf("app-%d-credentials-%d", n%500, n)
				if i%100 == 99 {
					secret = "gone"
				}
				pod := &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{Name: "pod-" + strconv.Itoa(i)},
					Spec: corev1.PodSpec{
						AutomountServiceAccountToken: &no,
						Containers:                   []corev1.Container{{Name: "a", Image: "a", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}}},
						Volumes:                      []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}},
					},
				}
				if _, err := client.CoreV1().Pods("team-"+strconv.Itoa(n%200)).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
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
