package survey

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/printable"
	"tokenward.dev/tokenward/pkg/report"
)

// stuckPod is a pod that is stuck, before the events have been read.
type stuckPod struct {
	pod, workload report.Ref
	reason        string
	since         time.Time
	findings      []evaluate.Finding
}

// event is the last of its kind about a pod.
type event struct {
	reason, message string
	last            time.Time
}

// explains reports whether events of a reason say what a pod waits for.
func explains(reason string) bool {
	return slices.Contains([]string{
		"FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox", "FailedToRetrieveImagePullSecret", "Failed", "InspectFailed",
	}, reason)
}

// explainStuck explains the pods that are stuck: by what is wrong with their
// references, and by what the kubelet says of them. A pod that runs may have the
// same events, of an earlier hour or a volume that is refreshed; it is not stuck.
func explainStuck(ctx context.Context, core kubernetes.Interface, namespace string, pods []stuckPod) ([]report.StuckPod, []listing.Refusal, error) {
	if len(pods) == 0 {
		return nil, nil, nil
	}
	events, err := readEvents(ctx, core, namespace, pods)
	refused, err := tolerate("events", err)
	if err != nil {
		return nil, nil, err
	}
	out := make([]report.StuckPod, 0, len(pods))
	for i := range pods {
		p := &pods[i]
		out = append(out, report.StuckPod{
			Pod: p.pod, Workload: p.workload, Reason: p.reason, Since: p.since.UTC(), Causes: causes(p.findings, events[p.pod.UID]),
		})
	}
	return out, refused, nil
}

// readEvents returns the warnings about pods by the uid of the pod; those that came
// before an error, too.
func readEvents(ctx context.Context, core kubernetes.Interface, namespace string, pods []stuckPod) (map[string][]event, error) {
	events := map[string][]event{}
	for i := range pods {
		events[pods[i].pod.UID] = nil
	}
	list := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		options.FieldSelector = fields.Set{"involvedObject.kind": "Pod", "type": corev1.EventTypeWarning}.String()
		return core.CoreV1().Events(namespace).List(ctx, options)
	}
	err := listing.EachPage(ctx, list, func(page runtime.Object) error {
		found, _ := page.(*corev1.EventList)
		for i := range found.Items {
			e := &found.Items[i]
			uid := string(e.InvolvedObject.UID)
			if _, asked := events[uid]; asked && explains(e.Reason) {
				events[uid] = latest(events[uid], e)
			}
		}
		return nil
	})
	return events, err
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
	fresh := event{reason: e.Reason, message: printable.Text(e.Message, maxEventText), last: last}
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

// causes says what a stuck pod waits for, the most certain first.
func causes(findings []evaluate.Finding, events []event) []string {
	var out []string
	for i := range findings {
		if findings[i].Effect == policy.BreaksAtStart {
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
