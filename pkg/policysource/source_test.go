package policysource

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/workload"
)

// denies tells whether a source's policies refuse a pod that mounts a Secret
// which does not exist.
func denies(s Source) bool {
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "db"}}}},
		Containers: []corev1.Container{{VolumeMounts: []corev1.VolumeMount{{Name: "v"}}}},
	}}
	plan := s.Snapshot().Plan(&policy.Attributes{Operation: admissionv1.Create, Namespace: "shop", Now: time.Now(), Pod: workload.OfPod(pod)})
	set := facts.Collect(plan.Needs, func(open []facts.Query, set *facts.Set) {
		for _, q := range open {
			set.Put(q.Object, facts.Fact{State: facts.Absent, Contents: true, Fresh: true})
		}
	})
	verdict := plan.Judge(set)
	return !verdict.Allowed
}

// journal keeps the lines of a log.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) logger() logr.Logger {
	return funcr.New(func(_, args string) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.lines = append(j.lines, args)
	}, funcr.Options{})
}

// count returns how many lines have all the words.
func (j *journal) count(words ...string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, line := range j.lines {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}

// inBackground runs a function until the test ends, within its bubble.
func inBackground(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); group.Wait() })
}

// later lets a time pass, in a bubble, and everything come to rest.
func later(d time.Duration) {
	time.Sleep(d) // in virtual time
	synctest.Wait()
}
