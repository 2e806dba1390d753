package hold

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/flowcontrol"

	"tokenward.dev/tokenward/pkg/policy"
)

const program = "tokenward"

// The reasons of Events on pods.
const (
	reasonHeld     = "Held"
	reasonReleased = "Released"
	reasonKept     = "HeldTooLong"
	reasonRefused  = "ReleaseRefused"
)

// How many Events are written, and how many may wait: beyond that they are left out.
const (
	eventQPS, eventBurst = 25, 50
	eventsKept           = 20_000
	maxEvent             = 1024
)

// events writes Events on pods, without anybody waiting for it. One is named by what
// it says, so that there is at most one of it, whoever leads.
type events struct {
	run     *run
	queue   chan *corev1.Event
	limiter flowcontrol.RateLimiter
	written chan sets.Set[string] // holds one: the names of those that are known to be there
}

func newEvents(r *run) *events {
	e := &events{run: r, queue: make(chan *corev1.Event, eventsKept), limiter: flowcontrol.NewTokenBucketRateLimiter(eventQPS, eventBurst), written: make(chan sets.Set[string], 1)}
	e.written <- sets.New[string]()
	return e
}

func (e *events) write(pod *corev1.Pod, kind, reason, message string) {
	if len(message) > maxEvent {
		message = strings.ToValidUTF8(message[:maxEvent-3], "") + "..."
	}
	sum := sha256.Sum256([]byte(string(pod.UID) + "\n" + reason + "\n" + message))
	name := program + "-" + hex.EncodeToString(sum[:12])
	written := <-e.written
	known := written.Has(name)
	if len(written) > eventsKept {
		written.Clear()
	}
	written.Insert(name)
	e.written <- written
	if known {
		return
	}
	now := metav1.NewTime(e.run.Now())
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: name},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
		},
		Reason: reason, Message: message, Type: kind,
		Source: corev1.EventSource{Component: program}, ReportingController: "tokenward.dev/tokenward",
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	select {
	case e.queue <- event:
	default: // the metrics and the audit tell the same
	}
}

func (e *events) start(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-e.queue:
			if e.limiter.Wait(ctx) != nil {
				return
			}
			limited, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err := e.run.Client.CoreV1().Events(event.Namespace).Create(limited, event, metav1.CreateOptions{})
			cancel()
			if apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || ctx.Err() != nil {
				err = nil
			}
			e.run.failures.Report("events", err, "Events on held pods can't be written")
		}
	}
}

// maxTold is how many findings an Event tells of.
const maxTold = 3

// heldText tells for what a pod is held.
func heldText(held *policy.Held) string {
	var texts []string
	for i := range held.For[:min(maxTold, len(held.For))] {
		texts = append(texts, held.For[i].Check+": "+held.For[i].Message)
	}
	return strings.Join(texts, " ")
}

// releasedText tells why a pod is released.
func releasedText(one *heldPod, end policy.HoldEnd) string {
	var names []string
	for i := range one.known.For[:min(maxTold, len(one.known.For))] {
		names = append(names, one.known.For[i].Object.String())
	}
	what := strings.Join(names, ", ")
	switch end {
	case policy.EndExpired:
		text := "The pod was held for " + one.known.MaxDuration.String() + " and may be scheduled, though it still lacks something"
		if what != "" {
			text += ": " + what
		}
		return text + "."
	case policy.EndExempted:
		return "The pod may be scheduled: an exemption covers what it lacks."
	case policy.EndPolicy:
		return "The pod may be scheduled: no policy holds it any more."
	case policy.EndExcluded:
		return "The pod may be scheduled: such a pod is never held."
	case policy.EndFound:
	}
	if what == "" {
		return "The pod may be scheduled: nothing is missing."
	}
	return "The pod may be scheduled: what it waited for is there: " + what + "."
}
