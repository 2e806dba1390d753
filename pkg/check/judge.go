package check

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/workload"
)

// judge judges the objects that stand for pods.
func (o *Options) judge(ctx context.Context, snapshot *policy.Snapshot, l *layers, m *manifests) *report.Report {
	r := &report.Report{Files: true, Manifests: len(m.objects), PassedOver: m.passed}
	for i := range m.objects {
		object := &m.objects[i]
		if !o.Templates.Has(object.GroupVersionKind()) {
			continue
		}
		whole, err := object.typed()
		if err != nil {
			m.problem(object.ErrorAt("", err.Error()))
			continue
		}
		pod, err := o.Templates.FromJSON(whole)
		switch {
		case errors.Is(err, workload.ErrNoPod):
			m.problem(object.ErrorAt("", "has no pod template where its kind has one"))
		case err != nil:
			m.problem(object.ErrorAt("", err.Error()))
		default:
			pod.Written = true
			o.misspelled(object, pod)
			evaluator := &evaluate.Evaluator{Snapshot: snapshot, Now: o.Now, Gather: func(needs func(*facts.Set) []facts.Query) *facts.Set {
				subject := o.subject(object)
				return l.gather(ctx, o.Now, object.Source, subject.String(), needs)
			}}
			o.judgeOne(evaluator, object, pod, r)
		}
	}
	r.Errors, r.Unjudged, r.Provided = m.problems, o.unjudged(m.objects), l.list()
	return r
}

// judgeOne judges one object.
func (o *Options) judgeOne(evaluator *evaluate.Evaluator, ob *object, pod *workload.Pod, r *report.Report) {
	subject := o.subject(ob)
	reasons := accepted(ob, pod)
	result := evaluator.Evaluate(&workload.Object{
		Kind: schema.FromAPIVersionAndKind(ob.APIVersion, ob.Kind), Namespace: subject.Namespace, Name: subject.Name, Pod: pod,
		Whole: func() map[string]any {
			fields, err := ob.fields()
			if err != nil {
				return nil
			}
			return fields
		},
	})
	if result.Passed != "" {
		return
	}
	r.Objects = append(r.Objects, subject)
	for _, undecided := range result.Undecided {
		o.Warn(fmt.Sprintf("%s: whether TokenPolicy %s matches is unknown: %s", subject.String(), undecided.Policy, undecided.Why))
	}
	first := len(r.Results)
	for j := range result.Findings {
		f := &result.Findings[j]
		one := report.NewResult(subject, &f.Finding)
		one.Would, one.WouldPolicies = f.Would, f.WouldPolicies
		one.Source = ob.position(f.Path)
		r.Results = append(r.Results, one)
	}
	o.accept(ob, reasons, r.Results[first:])
}
