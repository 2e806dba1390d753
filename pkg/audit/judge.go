// Package audit judges what already exists by the same policies as admission:
// the pods that run, and the templates that the next pods will be made from. It
// is the same line with another first and last step: objects come from a list,
// and verdicts go into reports.
//
// It imports what admission imports; where facts come from it does not know.
package audit

import (
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/workload"
)

// Judge judges objects that exist. An object is judged as if nobody in
// particular created it now: in conditions request.operation is CREATE and
// request.userInfo is empty, and exemptions for users or groups do not hold.
type Judge struct {
	Snapshot *policy.Snapshot
	// Gather answers what a judgement needs, until it asks nothing new.
	Gather func(needs func(*facts.Set) []facts.Query) *facts.Set
	// Now is the time of the judgement.
	Now time.Time
}

// Object is an object that exists, or is about to, and the pod that it stands for.
type Object struct {
	Kind      schema.GroupVersionKind
	Namespace string
	Name      string
	Pod       *workload.Pod
	// Whole returns the object as decoded JSON, or nil where that can't be told.
	// It is called only where a policy with conditions may match, and what it
	// returns is not written to.
	Whole func() map[string]any
}

// Finding is a fault of an object.
type Finding struct {
	policy.Finding
	// Would is the strongest action of policies in dry run, which is not in
	// force; empty if none has anything to say. Where Action is empty, nobody
	// but they found it.
	Would         v1alpha1.Action
	WouldPolicies []string
}

// Strongest returns the action of the finding, be it in force or in dry run.
func (f *Finding) Strongest() v1alpha1.Action {
	if f.Action == "" {
		return f.Would
	}
	return f.Action
}

// Result is what became of one object.
type Result struct {
	// Passed names the rule by which the object was not judged, or is empty.
	Passed string
	// Findings in the order of the table of checks, then of the fields.
	Findings []Finding
	// Undecided are policies of which it is unknown whether they match.
	Undecided []policy.Undecided
}

// OfPod returns a pod as an object to judge.
func OfPod(pod *corev1.Pod) *Object {
	return &Object{
		Kind: corev1.SchemeGroupVersion.WithKind("Pod"), Namespace: pod.Namespace, Name: pod.Name, Pod: workload.OfPod(pod),
		Whole: func() map[string]any {
			fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(pod)
			if err != nil {
				return nil
			}
			fields["apiVersion"], fields["kind"] = "v1", "Pod"
			return fields
		},
	}
}

// Object judges one object.
func (j *Judge) Object(o *Object) Result {
	if rule := passes(o.Pod); rule != "" {
		return Result{Passed: rule}
	}
	review := &policy.Attributes{
		Operation: admissionv1.Create, Now: j.Now, Namespace: o.Namespace, Pod: o.Pod,
		Values: func() *policy.Values { return o.values() },
	}
	plan := j.Snapshot.Plan(review)
	verdict := plan.Judge(j.Gather(plan.Needs))
	return Result{Passed: verdict.Passed, Findings: findings(&verdict), Undecided: verdict.Undecided}
}

// passes names the rule by which an object that exists is not judged, or "".
// Those of admission are in package policy, mirror pods among them.
func passes(pod *workload.Pod) string {
	switch {
	case pod == nil:
		return "the object stands for no pod"
	case pod.DeletionTimestamp != nil:
		return "the object is being deleted"
	case !pod.Template && (pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed):
		return "the pod has ended"
	}
	return ""
}

// findings puts those that are in force and those of dry run together, a line
// for each check and field.
func findings(v *policy.Verdict) []Finding {
	out := make([]Finding, 0, len(v.Findings)+len(v.Would))
	for i := range v.Findings {
		out = append(out, Finding{Finding: v.Findings[i]})
	}
	for i := range v.Would {
		w := &v.Would[i]
		at := slices.IndexFunc(out, func(f Finding) bool { return f.Check == w.Check && f.Path == w.Path })
		if at < 0 {
			at = len(out)
			out = append(out, Finding{Finding: *w})
			out[at].Action, out[at].Policies = "", nil
		}
		out[at].Would, out[at].WouldPolicies = w.Action, w.Policies
	}
	return out
}

// values returns what conditions see: what an API server would send if the
// object were created now.
func (o *Object) values() *policy.Values {
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

// FieldPath returns where a finding of an object's pod stands in a pod: the same
// for a pod and for the template that it was made from.
func (o *Object) FieldPath(f *policy.Finding) string { return strings.TrimPrefix(f.Path, o.Pod.Prefix) }
