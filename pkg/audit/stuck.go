package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"tokenward.dev/tokenward/pkg/report"
)

// waitingPod is a pod that is stuck, until the events have been read.
type waitingPod struct {
	pod, workload Ref
	reason        string
	since         time.Time
	findings      []Finding
}

// event is the last of its kind about a pod.
type event struct {
	reason, message string
	last            time.Time
}

// telling are the reasons of events that tell what a pod waits for.
func telling(reason string) bool {
	return slices.Contains([]string{
		"FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox", "FailedToRetrieveImagePullSecret", "Failed", "InspectFailed",
	}, reason)
}

// tellStuck explains the pods that are stuck: by what is wrong with their
// references, and by what the kubelet says of them. A pod that runs may have the
// same events, of an earlier hour or a volume that is refreshed; it is not stuck.
func (v *survey) tellStuck(ctx context.Context) error {
	if len(v.stuck) == 0 {
		return nil
	}
	events := map[string][]event{}
	for i := range v.stuck {
		events[v.stuck[i].pod.UID] = nil
	}
	list := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		options.FieldSelector = fields.Set{"involvedObject.kind": "Pod", "type": corev1.EventTypeWarning}.String()
		return v.core.CoreV1().Events(v.Namespace).List(ctx, options)
	}
	err := pages(ctx, pageSize, list, func(page runtime.Object) (int64, error) {
		found, _ := page.(*corev1.EventList)
		for i := range found.Items {
			e := &found.Items[i]
			uid := string(e.InvolvedObject.UID)
			if _, asked := events[uid]; asked && telling(e.Reason) {
				events[uid] = latest(events[uid], e)
			}
		}
		return pageSize, nil
	})
	if err := v.tolerate("events", err); err != nil {
		return err
	}
	for i := range v.stuck {
		w := &v.stuck[i]
		v.out.Stuck = append(v.out.Stuck, report.StuckPod{
			Pod: w.pod, Workload: w.workload, Reason: w.reason, Since: w.since.UTC(), Causes: causes(w.findings, events[w.pod.UID]),
		})
	}
	return nil
}

// latest keeps the last event of each reason.
func latest(known []event, e *corev1.Event) []event {
	last := e.LastTimestamp.Time
	if last.IsZero() {
		last = e.EventTime.Time
	}
	if e.Series != nil && e.Series.LastObservedTime.After(last) {
		last = e.Series.LastObservedTime.Time
	}
	fresh := event{reason: e.Reason, message: oneLine(e.Message), last: last}
	at := slices.IndexFunc(known, func(k event) bool { return k.reason == e.Reason })
	switch {
	case at < 0:
		return append(known, fresh)
	case known[at].last.Before(last):
		known[at] = fresh
	}
	return known
}

// maxEventText bounds what is quoted of an event.
const maxEventText = 300

// oneLine is for text that anybody may have written: a terminal must not obey it.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxEventText {
		text = strings.ToValidUTF8(text[:maxEventText], "") + "..."
	}
	return text
}

func causes(findings []Finding, events []event) []string {
	var out []string
	for i := range findings {
		if effectOf(findings[i].Check) == atStart {
			out = append(out, findings[i].Message)
		}
	}
	certain := len(out) > 0
	slices.SortFunc(events, func(a, b event) int { return b.last.Compare(a.last) })
	for _, e := range events {
		when := ""
		if !e.last.IsZero() {
			when = " at " + e.last.UTC().Format(time.RFC3339)
		}
		out = append(out, fmt.Sprintf("event %s%s: %s", e.reason, when, e.message))
	}
	switch {
	case len(out) == 0:
		out = append(out, "No reference of the pod is at fault and no event says what it waits for; ask the kubelet of its node.")
	case !certain:
		out = append(out, "No reference of the pod is at fault now: if what it waited for has come since, the kubelet tries again within some two minutes.")
	}
	return out
}
