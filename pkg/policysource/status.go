package policysource

import (
	"context"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/policy"
)

const (
	// fieldManager is who owns the status of TokenPolicies (KEP-555).
	fieldManager = "tokenward"
	// statusInterval is how soon a status that could not be written is tried again.
	statusInterval = 5 * time.Second
	// statusPause is the least time between two passes over the policies.
	statusPause = 500 * time.Millisecond
	// maxCondition bounds the message of a condition, well below the 32,768 bytes
	// that metav1.Condition allows.
	maxCondition = 4096
)

// Lead implements Source: it writes the status of the policies.
func (c *Cluster) Lead(ctx context.Context) error {
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	logged := ""
	for {
		logged = c.writeStatus(ctx, logged)
		select {
		case <-ctx.Done():
			return nil
		case <-c.settled:
		case <-tick.C:
		}
		// Two leaders, of two versions say, must not outdo each other.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(statusPause):
		}
	}
}

// writeStatus writes what is not yet as it should be. It returns the last error,
// and logs it unless it was logged before.
func (c *Cluster) writeStatus(ctx context.Context, logged string) string {
	if !c.Synced() {
		return logged
	}
	c.mu.Lock()
	all := make([]entry, 0, len(c.policies))
	policies := make([]*policy.Policy, 0, len(c.policies))
	for _, k := range c.policies {
		if k.compiled != nil {
			all = append(all, *k)
			policies = append(policies, k.compiled)
		}
	}
	c.mu.Unlock()
	overlaps := policy.Overlaps(policies)
	now, last := metav1.Now(), ""
	for i := range all {
		status := all[i].status(overlaps[all[i].object.Name], c.notHeld(all[i].compiled), now)
		if equality.Semantic.DeepEqual(status, &all[i].object.Status) {
			continue
		}
		err := c.applyStatus(ctx, all[i].object, status)
		if err == nil || ctx.Err() != nil || apierrors.IsNotFound(err) {
			continue
		}
		if last = err.Error(); last != logged {
			c.log.Error(err, "The status of TokenPolicies can't be written (grant patch on tokenpolicies/status); trying again", "policy", all[i].object.Name)
			logged = last
		}
	}
	return last
}

// status returns what the status of a policy should be. notHeld are checks with the
// action Hold which acts as Warn.
func (k *entry) status(overlap string, notHeld []string, now metav1.Time) *v1alpha1.TokenPolicyStatus {
	status := k.object.Status.DeepCopy()
	status.ObservedGeneration = k.object.Generation
	status.StrictestAction = k.compiled.Strictest()
	overlapping := metav1.Condition{
		Type: v1alpha1.ConditionOverlapping, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNoOverlap,
		Message: "No policy with the same selectors that comes first sets the same field otherwise.",
	}
	if overlap != "" {
		overlapping.Status, overlapping.Reason, overlapping.Message = metav1.ConditionTrue, v1alpha1.ReasonSameChange, overlap
	}
	for _, condition := range []metav1.Condition{k.ready(notHeld), overlapping, k.expressionWarnings(), k.exemptionsEnding(now.Time)} {
		condition.ObservedGeneration, condition.LastTransitionTime = k.object.Generation, now
		if len(condition.Message) > maxCondition {
			condition.Message = strings.ToValidUTF8(condition.Message[:maxCondition], "") + "..."
		}
		meta.SetStatusCondition(&status.Conditions, condition)
	}
	return status
}

// notHeld returns the checks for which a policy would hold pods, where none is held.
func (c *Cluster) notHeld(p *policy.Policy) []string {
	if c.options.Hold {
		return nil
	}
	return p.Holds(c.compiler.Checks())
}

// ready tells whether the policy is in force as it is written.
func (k *entry) ready(notHeld []string) metav1.Condition {
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonCompiled, Message: "The policy is in force.",
	}
	if len(notHeld) > 0 {
		ready.Status, ready.Reason = metav1.ConditionFalse, v1alpha1.ReasonHoldDisabled
		ready.Message = "Tokenward runs without --hold, so that no pods are held: Hold acts as Warn for " + strings.Join(notHeld, ", ") + ". The rest of the policy is in force."
	}
	if len(k.errs) == 0 {
		return ready
	}
	ready.Status, ready.Reason = metav1.ConditionFalse, v1alpha1.ReasonUnknownCheck
	for _, err := range k.errs {
		if !policy.IsUnknownCheck(err) {
			ready.Reason = v1alpha1.ReasonInvalid
		}
	}
	ready.Message = k.errs.ToAggregate().Error()
	return ready
}

// expressionWarnings tells of conditions that do not fit a Pod.
func (k *entry) expressionWarnings() metav1.Condition {
	if len(k.compiled.ExpressionWarnings) > 0 {
		return metav1.Condition{
			Type: v1alpha1.ConditionExpressionWarnings, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTypeChecking,
			Message: strings.Join(k.compiled.ExpressionWarnings, "; "),
		}
	}
	return metav1.Condition{
		Type: v1alpha1.ConditionExpressionWarnings, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNoWarning,
		Message: "The conditions fit the fields of a Pod.",
	}
}

// endsSoon is how long before its end an exemption is announced.
const endsSoon = 7 * 24 * time.Hour

// exemptionsEnding tells of exemptions that have ended, or end soon. The message
// changes only when one of them begins to end, and when it has.
func (k *entry) exemptionsEnding(now time.Time) metav1.Condition {
	endings := k.compiled.Endings(now, endsSoon)
	if len(endings) == 0 {
		return metav1.Condition{
			Type: v1alpha1.ConditionExemptionsEnding, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNoneEnds,
			Message: "No exemption has ended, or ends within a week.",
		}
	}
	out := metav1.Condition{Type: v1alpha1.ConditionExemptionsEnding, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonEndsSoon}
	texts := make([]string, len(endings))
	for i, e := range endings {
		verb := " ends at "
		if e.Ended {
			verb, out.Reason = " ended at ", v1alpha1.ReasonEnded
		}
		texts[i] = e.Name + verb + e.At.Format(time.RFC3339)
	}
	out.Message = strings.Join(texts, "; ")
	return out
}

func (c *Cluster) applyStatus(ctx context.Context, p *v1alpha1.TokenPolicy, status *v1alpha1.TokenPolicyStatus) error {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return err
	}
	object := &unstructured.Unstructured{Object: map[string]any{"status": fields}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.TokenPolicyKind))
	object.SetName(p.Name)
	// The uid keeps a status from a policy that was deleted and made again.
	object.SetUID(p.UID)
	_, err = c.client.ApplyStatus(ctx, p.Name, object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}
