package hold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/workload"
)

const (
	// What failed is tried again soon, then later and later.
	retryFirst, retryMost = 250 * time.Millisecond, 30 * time.Second
	// A release that the API server refuses is tried again slowly.
	refusedFirst, refusedMost = 5 * time.Second, 5 * time.Minute
	patchTimeout              = 10 * time.Second
)

func releaseLimiter() workqueue.TypedRateLimiter[types.NamespacedName] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](retryFirst, retryMost)
}

// step judges a pod, and releases it if nothing holds it any more.
func (r *run) step(ctx context.Context, key types.NamespacedName) {
	one, ok := r.pods.get(key)
	if !ok || one.released || r.Now().Before(one.notBefore) || ctx.Err() != nil {
		r.queue.Forget(key)
		return
	}
	pod, err := one.decode()
	if err != nil {
		r.Log.Error(err, "A held pod can't be judged", "pod", key.String())
		return
	}
	held := r.judge(ctx, key, &one, pod)
	if ctx.Err() != nil {
		return
	}
	now := r.Now()
	if held.Holds {
		r.queue.Forget(key)
		r.stays(key, &one, pod, held, now)
		return
	}
	switch err := r.release(ctx, pod); {
	case err == nil, apierrors.IsNotFound(err):
		r.queue.Forget(key)
		r.pods.set(key, one.version, func(p *heldPod) { p.released = true })
		if err == nil {
			r.released(pod, &one, held.End, now)
		}
	case isRefusal(err):
		r.refused(key, &one, pod, err, now)
	default:
		r.failures.Report("release", err, "Held pods can't be released; trying again")
		r.queue.AddRateLimited(key)
	}
}

// judge judges a pod by what is true since it was triggered.
func (r *run) judge(ctx context.Context, key types.NamespacedName, one *heldPod, pod *corev1.Pod) policy.Held {
	limited, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	asked := map[facts.Object]bool{}
	evaluator := evaluate.Evaluator{
		Snapshot: r.Policies(), Now: r.Now(),
		Gather: func(needs func(*facts.Set) []facts.Query) *facts.Set {
			return r.answers.gather(limited, one.triggered, func(o facts.Object) {
				asked[o] = true
				r.pods.depend(key, o)
			}, needs)
		},
	}
	object := workload.ObjectOfPod(pod)
	held := evaluator.Held(&object)
	r.pods.settle(key, asked)
	return held
}

// stays notes for what a pod is held, and until when.
func (r *run) stays(key types.NamespacedName, one *heldPod, pod *corev1.Pod, held policy.Held, now time.Time) {
	until := pod.CreationTimestamp.Add(held.MaxDuration)
	r.pods.set(key, one.version, func(p *heldPod) { p.known, p.until = held, until })
	if !held.Keep || now.Before(until) {
		r.queue.AddAfter(key, max(until.Sub(now), 10*time.Millisecond))
	}
	text := heldText(&held)
	if held.Keep && !now.Before(until) {
		r.events.write(pod, corev1.EventTypeWarning, reasonKept, "The pod is held for longer than "+held.MaxDuration.String()+": "+text)
		return
	}
	end := ". It is released after " + held.MaxDuration.String() + " in any case."
	if held.Keep {
		end = "."
	}
	r.events.write(pod, corev1.EventTypeWarning, reasonHeld, "The pod is not scheduled: "+strings.TrimSuffix(text, ".")+end)
}

// released tells of a pod that was released.
func (r *run) released(pod *corev1.Pod, one *heldPod, end policy.HoldEnd, now time.Time) {
	r.failures.Report("release", nil, "")
	r.Metrics.HeldSeconds.WithLabelValues(string(end)).Observe(now.Sub(pod.CreationTimestamp.Time).Seconds())
	kind := corev1.EventTypeNormal
	if end == policy.EndExpired {
		kind = corev1.EventTypeWarning
	}
	r.events.write(pod, kind, reasonReleased, releasedText(one, end))
}

// refused tells of a release that the API server refuses, and tries again slowly. A
// pod that has changed meanwhile is tried again at once.
func (r *run) refused(key types.NamespacedName, one *heldPod, pod *corev1.Pod, err error, now time.Time) {
	pause := min(refusedFirst<<min(one.refusals, 10), refusedMost)
	if r.Metrics.HoldReleasesRefused.Inc(); one.refusals == 0 {
		r.Log.Error(err, "A held pod can't be released; trying again slowly", "pod", key.String())
	}
	r.events.write(pod, corev1.EventTypeWarning, reasonRefused, "The pod need not wait any more, but the API server refuses to release it: "+err.Error())
	r.pods.set(key, one.version, func(p *heldPod) { p.refusals, p.notBefore = p.refusals+1, now.Add(pause) })
	r.queue.AddAfter(key, pause)
}

// patchOperation is one operation of a JSON Patch (RFC 6902).
type patchOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// ReleasePatch takes the gate and the label of Tokenward from a pod, and nothing
// else. It fails if the pod is another one by now, or its gates have moved.
func ReleasePatch(pod *corev1.Pod) ([]byte, error) {
	label := "/metadata/labels/" + strings.ReplaceAll(policy.HeldLabel, "/", "~1")
	patch := []patchOperation{{"test", "/metadata/uid", pod.UID}}
	for i, g := range slices.Backward(pod.Spec.SchedulingGates) {
		if g.Name == policy.HoldGate {
			at := fmt.Sprintf("/spec/schedulingGates/%d", i)
			patch = append(patch, patchOperation{"test", at + "/name", g.Name}, patchOperation{"remove", at, nil})
		}
	}
	if value, ok := pod.Labels[policy.HeldLabel]; ok {
		patch = append(patch, patchOperation{"test", label, value}, patchOperation{"remove", label, nil})
	}
	return json.Marshal(patch)
}

func (r *run) release(ctx context.Context, pod *corev1.Pod) error {
	patch, err := ReleasePatch(pod)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, patchTimeout)
	defer cancel()
	_, err = r.Client.CoreV1().Pods(pod.Namespace).Patch(limited, pod.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: program})
	return err
}

// isRefusal reports whether the API server, or a webhook, does not want the pod
// released: trying again at once is vain.
func isRefusal(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch code := status.Status().Code; code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return false
	default:
		return code >= http.StatusBadRequest && code < http.StatusInternalServerError
	}
}
