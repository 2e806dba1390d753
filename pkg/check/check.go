// Package check judges manifests before they reach a cluster: by the same
// policies as admission, against the manifests themselves, those of a cluster's
// state, and the cluster, as far as it is asked.
//
// It imports packages evaluate, policy, report, facts, facts/manifest, source,
// reference, strictyaml, token, workload and apis, and nothing else of ours: how a
// cluster is asked it does not know.
package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/facts/manifest"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/source"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/workload"
)

// Options say what is judged, and by what.
type Options struct {
	// Manifests are judged; they are facts, too.
	Manifests Input
	// State has manifests of what exists besides; none if it has no paths.
	State Input
	// Live answers what neither has; nil for none.
	Live source.Reader
	// Namespace of objects that name none; "default" if empty.
	Namespace string
	Templates workload.Templates
	Compiler  *policy.Compiler
	// Policies to judge by. TokenPolicies among the manifests come in addition, or
	// in the place of one of the same name, unless Only is set.
	Policies []*policy.Policy
	Only     bool
	Now      time.Time
	// Warn gets what is odd, and no reason to stop.
	Warn func(string)
}

// Run judges the manifests.
func Run(ctx context.Context, o *Options) (*report.Report, error) {
	if o.Namespace == "" {
		with := *o
		with.Namespace = metav1.NamespaceDefault
		o = &with
	}
	objects, err := o.Manifests.load(o.Warn)
	if err != nil {
		return nil, err
	}
	given, err := o.cluster(objects)
	if err != nil {
		return nil, err
	}
	given.Given = len(o.State.Paths) == 0 && o.Live == nil
	manifests := []*manifest.Cluster{given}
	if len(o.State.Paths) > 0 {
		exists, err := o.State.load(o.Warn)
		if err != nil {
			return nil, err
		}
		state, err := o.cluster(exists)
		if err != nil {
			return nil, err
		}
		manifests = append(manifests, state)
	}
	snapshot, err := o.snapshot(objects)
	if err != nil {
		return nil, err
	}
	l := newLayers(o.Live, manifests...)
	evaluator := &evaluate.Evaluator{Snapshot: snapshot, Now: o.Now, Gather: func(needs func(*facts.Set) []facts.Query) *facts.Set {
		return l.gather(ctx, o.Now, needs)
	}}
	r, err := o.judge(evaluator, objects)
	if err != nil {
		return nil, err
	}
	r.Provided = l.provided
	r.Sort()
	return r, nil
}

// cluster makes facts of objects. Of two that are the same the last one counts,
// as with kubectl apply.
func (o *Options) cluster(objects []object) (*manifest.Cluster, error) {
	// Without the cluster's keys nobody can say whether a token is good.
	cluster := &manifest.Cluster{Namespace: o.Namespace, Keys: token.NewKeySet(token.KeySetOptions{Unavailable: true})}
	var errs []error
	seen := map[string]*object{}
	for i := range objects {
		object := &objects[i]
		whole, err := object.typed()
		if err == nil {
			err = cluster.Add(whole)
		}
		if err != nil {
			errs = append(errs, object.ErrorAt("", err.Error()))
			continue
		}
		subject := o.subject(object)
		if subject.Name == "" {
			continue
		}
		id := object.GroupVersionKind().Group + "/" + subject.String()
		if first := seen[id]; first != nil {
			line, _ := first.Position("")
			o.Warn(object.ErrorAt("", fmt.Sprintf("%s is in %s:%d, too; the last one counts as a fact, all are judged", subject.String(), first.Source, line)).Error())
		}
		seen[id] = object
	}
	return cluster, errors.Join(errs...)
}

// typed returns the object with its apiVersion and kind, which items of a typed
// list need not have.
func (ob *object) typed() ([]byte, error) {
	fields, err := ob.fields()
	if err != nil {
		return nil, err
	}
	if fields["apiVersion"] == ob.APIVersion && fields["kind"] == ob.Kind {
		return ob.JSON, nil
	}
	fields["apiVersion"], fields["kind"] = ob.APIVersion, ob.Kind
	return json.Marshal(fields)
}

func (ob *object) fields() (map[string]any, error) {
	var fields map[string]any
	err := kjson.UnmarshalCaseSensitivePreserveInts(ob.JSON, &fields)
	return fields, err
}

// snapshot puts the policies together.
func (o *Options) snapshot(objects []object) (*policy.Snapshot, error) {
	policies := slices.Clone(o.Policies)
	var errs []error
	for i := range objects {
		object := &objects[i]
		if o.Only || object.Kind != v1alpha1.TokenPolicyKind || object.APIVersion != v1alpha1.GroupVersion.String() {
			continue
		}
		p, err := o.Compiler.ParseDocument(&object.Document)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		policies = slices.DeleteFunc(policies, func(other *policy.Policy) bool { return other.Name == p.Name })
		policies = append(policies, p)
	}
	for _, p := range policies {
		for _, text := range slices.Concat(p.Warnings, p.Expired(o.Now)) {
			o.Warn("TokenPolicy " + p.Name + ": " + text)
		}
	}
	return policy.NewSnapshot(o.Compiler.Checks(), policies, policy.Options{Hold: true}), errors.Join(errs...)
}

// judge judges the objects that stand for pods.
func (o *Options) judge(evaluator *evaluate.Evaluator, objects []object) (*report.Report, error) {
	r := &report.Report{}
	var errs []error
	for i := range objects {
		object := &objects[i]
		whole, err := object.typed()
		if err != nil {
			errs = append(errs, object.ErrorAt("", err.Error()))
			continue
		}
		pod, err := o.Templates.FromJSON(whole)
		switch {
		case errors.Is(err, workload.ErrNoPod):
			continue
		case err != nil:
			errs = append(errs, object.ErrorAt("", err.Error()))
			continue
		}
		pod.Written = true
		subject := o.subject(object)
		result := evaluator.Evaluate(&workload.Object{
			Kind: schema.FromAPIVersionAndKind(object.APIVersion, object.Kind), Namespace: subject.Namespace, Name: subject.Name, Pod: pod,
			Whole: func() map[string]any {
				fields, err := object.fields()
				if err != nil {
					return nil
				}
				return fields
			},
		})
		if result.Passed != "" {
			continue
		}
		r.Objects = append(r.Objects, subject)
		for _, undecided := range result.Undecided {
			o.Warn(fmt.Sprintf("%s: whether TokenPolicy %s matches is unknown: %s", subject.String(), undecided.Policy, undecided.Why))
		}
		for j := range result.Findings {
			f := &result.Findings[j]
			one := report.NewResult(subject, &f.Finding)
			one.Would, one.WouldPolicies = f.Would, f.WouldPolicies
			one.Source = object.position(f.Path)
			r.Results = append(r.Results, one)
		}
	}
	return r, errors.Join(errs...)
}

// subject is the object as reports name it.
func (o *Options) subject(ob *object) report.Object {
	namespace := ob.metadata.Namespace
	if namespace == "" && o.namespaced(ob) {
		namespace = o.Namespace
	}
	name := ob.metadata.Name
	if name == "" {
		name = ob.metadata.GenerateName
	}
	return report.Object{
		APIVersion: ob.APIVersion, Kind: ob.Kind, Namespace: namespace, Name: name,
		Source: ob.position(""), Template: ob.Comment("Source: "),
	}
}

// namespaced tells it of kinds that are judged or that facts come from.
func (o *Options) namespaced(ob *object) bool {
	return o.Templates.Has(ob.GroupVersionKind()) || manifest.Namespaced(&ob.TypeMeta)
}

func (ob *object) position(path string) *report.Position {
	line, column := ob.Position(path)
	return &report.Position{File: ob.Source, Line: line, Column: column}
}
