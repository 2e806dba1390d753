// Package evaluate judges objects that exist, or are written down, by the same
// policies as admission, as if somebody created them now.
//
// It may import packages policy, facts, workload and apis, and nothing else of
// ours: its caller says where facts come from.
package evaluate

import (
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/workload"
)

// Evaluator judges an object as if nobody in particular created it now: in
// conditions request.operation is CREATE and request.userInfo is empty, and
// exemptions for users or groups do not hold.
type Evaluator struct {
	Snapshot *policy.Snapshot
	// Gather answers the queries of a judgement, until it asks nothing new.
	Gather func(needs func(*facts.Set) []facts.Query) *facts.Set
	// Now is the time of the judgement.
	Now time.Time
}

// Finding is a fault of an object.
type Finding struct {
	policy.Finding
	// Would is the strongest action of policies in dry run, which is not in force;
	// empty if none of them finds the fault. Action is empty where only policies in
	// dry run find it.
	Would         v1alpha1.Action
	WouldPolicies []string
}

// Result is the judgement of one object.
type Result struct {
	// Passed names the rule by which the object was not judged, or is empty.
	Passed string
	// Findings in the order of the table of checks, then of the fields.
	Findings []Finding
	// Undecided are policies of which it is unknown whether they match.
	Undecided []policy.Undecided
}

// Evaluate judges one object.
func (e *Evaluator) Evaluate(o *workload.Object) Result {
	if rule := PassedBy(o.Pod); rule != "" {
		return Result{Passed: rule}
	}
	attributes := &policy.Attributes{
		Operation: admissionv1.Create, Now: e.Now, Namespace: o.Namespace, Pod: o.Pod,
		Values: func() *policy.Values { return Values(o) },
	}
	if o.Pod.Written {
		attributes.Hold = policy.WillHold // what becomes of its pods
	}
	plan := e.Snapshot.Plan(attributes)
	verdict := plan.Judge(e.Gather(plan.Needs))
	return Result{Passed: verdict.Passed, Findings: merge(&verdict), Undecided: verdict.Undecided}
}

// PassedBy names the rule by which an object that exists is not judged, or "".
// The rules of admission are in package policy, that for mirror pods among them.
func PassedBy(pod *workload.Pod) string {
	switch {
	case pod == nil:
		return "the object stands for no pod"
	case pod.DeletionTimestamp != nil:
		return "the object is being deleted"
	case pod.Template && pod.Controlled:
		return "the template of the object's controller is judged"
	case !pod.Template && (pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed):
		return "the pod has ended"
	}
	return ""
}

// merge returns the findings that are in force and those of dry run, one for each
// check and field.
func merge(v *policy.Verdict) []Finding {
	type field struct{ check, path string }
	out, places := make([]Finding, 0, len(v.Findings)+len(v.Would)), map[field]int{}
	for i := range v.Findings {
		f := &v.Findings[i]
		if at := (field{f.Check, f.Path}); len(v.Would) > 0 && places[at] == 0 {
			places[at] = len(out) + 1
		}
		out = append(out, Finding{Finding: *f})
	}
	for i := range v.Would {
		w := &v.Would[i]
		at := field{w.Check, w.Path}
		if places[at] == 0 {
			out = append(out, Finding{Finding: *w})
			places[at] = len(out)
			out[len(out)-1].Action, out[len(out)-1].Policies = "", nil
		}
		f := &out[places[at]-1]
		f.Would, f.WouldPolicies = w.Action, w.Policies
	}
	return out
}

// Values returns what conditions see: what an API server would send if the
// object were created now.
func Values(o *workload.Object) *policy.Values {
	if o.Whole == nil {
		return nil
	}
	whole := o.Whole()
	if whole == nil {
		return nil
	}
	plural, _ := meta.UnsafeGuessKindToResource(o.Kind)
	kind, resource := metav1.GroupVersionKind(o.Kind), metav1.GroupVersionResource(plural)
	request, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&admissionv1.AdmissionRequest{
		UID: "audit", Kind: kind, RequestKind: &kind, Resource: resource, RequestResource: &resource,
		Name: o.Name, Namespace: o.Namespace, Operation: admissionv1.Create, DryRun: new(bool),
	})
	if err != nil {
		return nil
	}
	delete(request, "object")
	delete(request, "oldObject")
	return &policy.Values{Object: o.Pod.Unstructured(whole, o.Namespace), Request: request}
}
