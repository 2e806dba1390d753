package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/rollup"
)

// eventReason is what the audit's events have as reason.
const eventReason = "TokenwardAudit"

// writeEvents writes a warning on the owner for each finding that is denied or
// warned about. An event is named by what it says, so that the API server has at
// most one of it, whoever leads, for as long as it keeps events.
func (a *Auditor) writeEvents(ctx context.Context, namespace string, found *namespaceFaults) {
	refused := a.refusalsOf(kindEvent, namespace)
	for _, w := range found.Rollup {
		for _, f := range w.Faults {
			if f.State == facts.Unknown || (f.Action != v1alpha1.Deny && f.Action != v1alpha1.Warn) {
				continue
			}
			err := a.writeEvent(ctx, w, f)
			if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				continue
			}
			if !apierrors.IsForbidden(err) { // or no event may be written
				err = refused.note(f.Check+" "+w.Ref.UID, w.Ref.String(), err)
			}
			if err != nil {
				a.logOnce("events", err, "Events can't be written")
				return
			}
		}
	}
	a.logOnce("events", nil, "")
}

func (a *Auditor) writeEvent(ctx context.Context, w *rollup.Workload, f *rollup.Fault) error {
	now := metav1.NewTime(a.Now())
	sum := sha256.Sum256([]byte(w.Ref.UID + "\n" + f.Check + "\n" + f.Message))
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: w.Ref.Namespace, Name: program + "-" + hex.EncodeToString(sum[:12])},
		InvolvedObject: *objectReference(w.Ref),
		Reason:         eventReason, Message: f.Check + ": " + f.Message, Type: corev1.EventTypeWarning,
		Source: corev1.EventSource{Component: program}, ReportingController: "tokenward.dev/tokenward",
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	_, err := a.Lister.Core.CoreV1().Events(w.Ref.Namespace).Create(ctx, event, metav1.CreateOptions{})
	return err
}
