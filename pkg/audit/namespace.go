package audit

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/rollup"
)

// audit looks at one namespace.
func (a *Auditor) audit(ctx context.Context, namespace string) {
	if len(a.Only) > 0 { // the rights in a namespace go with it
		if _, exists := a.Namespaces()[namespace]; !exists || !slices.Contains(a.Only, namespace) {
			a.count(namespace, nil)
			return
		}
	}
	began := a.Now()
	err := a.auditNamespace(ctx, namespace)
	if ctx.Err() != nil {
		return
	}
	ended := a.Now()
	if c, ok := a.cooldowns[namespace]; ok {
		a.cooldowns[namespace] = c.afterLook(ended, ended.Sub(began))
	}
	if err != nil {
		a.Metrics.AuditNamespaces.WithLabelValues("error").Inc()
		a.logOnce("namespace", err, "A namespace could not be audited; its reports stay as they are", "namespace", namespace, "retryAfter", retryAfter.String())
		a.touch(namespace, ended.Add(retryAfter))
		return
	}
	a.Metrics.AuditNamespaces.WithLabelValues("ok").Inc()
}

// logOnce logs a failure unless it was the last of its kind, too. No error ends the
// failure.
func (a *Auditor) logOnce(what string, err error, message string, more ...any) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if a.logged[what] == text {
		return
	}
	if a.logged[what] = text; err == nil {
		delete(a.logged, what)
	}
	if err != nil {
		a.Log.Error(err, message, more...)
	}
}

// auditNamespace judges what is in a namespace and writes what was found.
func (a *Auditor) auditNamespace(ctx context.Context, namespace string) error {
	settled := a.Settled() // before anything is judged by it
	found, err := a.judgeNamespace(ctx, namespace)
	if err != nil {
		return err
	}
	a.count(namespace, found)
	if err := a.writeReports(ctx, namespace, found, settled); err != nil {
		return err
	}
	if a.Events {
		a.writeEvents(ctx, namespace, found)
	}
	return nil
}

// errManyOwners is why some owners are not looked at.
var errManyOwners = errors.New("too many owners that no list has") //nolint:gochecknoglobals // an error

// namespaceFaults is what was found in a namespace.
type namespaceFaults struct {
	rollup.Rollup
	// refused are the resources that may not be listed.
	refused []string
}

// unseen reports whether nobody can say that an owner is without a fault, since it
// or its pods may not be listed.
func (n *namespaceFaults) unseen(owner *corev1.ObjectReference) bool {
	if owner == nil || len(n.refused) == 0 {
		return false
	}
	plural, _ := meta.UnsafeGuessKindToResource(owner.GroupVersionKind())
	return slices.Contains(n.refused, "pods") || slices.Contains(n.refused, plural.Resource)
}

func (a *Auditor) judgeNamespace(ctx context.Context, namespace string) (*namespaceFaults, error) {
	session := a.Session()
	evaluator := &evaluate.Evaluator{
		Snapshot: a.seen, Now: a.Now(),
		Gather: func(needs func(*facts.Set) []facts.Query) *facts.Set { return session.Gather(ctx, a.Now(), needs) },
	}
	found, owners := &namespaceFaults{Rollup: rollup.Rollup{}}, rollup.NewOwners(a.Lister.Controller)
	visit := func(page []listing.Item) error {
		for i := range page {
			item := &page[i]
			owners.Add(item)
			if item.Pod == nil {
				continue
			}
			result := evaluator.Evaluate(&item.Object)
			if err := session.Err(); err != nil {
				return err
			}
			if result.Passed != "" {
				continue
			}
			a.Metrics.AuditObjects.Inc()
			stuck := false
			if item.IsPod() {
				reason, _ := rollup.Stuck(item.Pod.Pod, evaluator.Now)
				stuck = reason != ""
			}
			found.Add(owners.Top(ctx, rollup.Ref(item), item.Controller()), item, &result, stuck)
		}
		return ctx.Err()
	}
	ended := func(resource string, err error) error { return a.tolerate(found, resource, err) }
	if err := a.Lister.EachTemplate(ctx, namespace, visit, ended); err != nil {
		return nil, err
	}
	if err := ended("pods", a.Lister.EachPod(ctx, namespace, visit)); err != nil {
		return nil, err
	}
	a.tellUnread(namespace, owners.Unread(namespace))
	return found, nil
}

// tellUnread logs once that some owners in a namespace were not looked at.
func (a *Auditor) tellUnread(namespace string, owners int) {
	var err error
	if owners > 0 {
		err = errManyOwners
	}
	a.logOnce("owners in "+namespace, err, "Owners were not looked at; what their pods say of them is believed", "namespace", namespace, "pods", owners)
}

// tolerate goes on without a kind that may not be listed, or is not served.
func (a *Auditor) tolerate(found *namespaceFaults, what string, err error) error {
	switch cluster.WhyNot(err) {
	case facts.NoReason, facts.NotServed:
		a.logOnce("list "+what, nil, "")
	case facts.Forbidden:
		found.refused = append(found.refused, what)
		a.logOnce("list "+what, err, "Objects can't be listed and are not audited", "resource", what)
	default:
		return err
	}
	return nil
}

// count brings the metric of a namespace's findings up to date.
func (a *Auditor) count(namespace string, found *namespaceFaults) {
	now := map[findingLabels]int{}
	if found != nil {
		for _, w := range found.Rollup {
			for _, f := range w.Faults {
				action := string(f.Action)
				if action == "" {
					action = "DryRun"
				}
				now[findingLabels{f.Check, action, f.State.String()}]++
			}
		}
	}
	for k, n := range now {
		a.Metrics.AuditFindings.WithLabelValues(k.check, k.action, k.state).Add(float64(n))
	}
	for k, n := range a.counts[namespace] {
		a.Metrics.AuditFindings.WithLabelValues(k.check, k.action, k.state).Sub(float64(n))
	}
	if a.counts[namespace] = now; found == nil {
		delete(a.counts, namespace)
		a.forgetRefusals(namespace)
	}
}
