// Package check judges manifests before they reach a cluster: by the same
// policies as admission, against the manifests themselves, those of a cluster's
// state, and the cluster, as far as it is asked.
//
// It imports packages evaluate, policy, report, facts, facts/manifest, makers, source,
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
	kjson "sigs.k8s.io/json"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts/manifest"
	"tokenward.dev/tokenward/pkg/makers"
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
	// Makers are what makes objects that no manifest has; the built-in table if nil.
	Makers   *makers.Table
	Compiler *policy.Compiler
	// Policies to judge by. TokenPolicies among the manifests come in addition, or
	// in the place of one of the same name, unless Only is set.
	Policies []*policy.Policy
	Only     bool
	Now      time.Time
	// Warn gets what is odd, and no reason to stop.
	Warn func(string)
}

// Run judges the manifests. The error says why nothing could be judged; what could
// not be read beside the rest stands in the report.
func Run(ctx context.Context, o *Options) (*report.Report, error) {
	if o.Namespace == "" {
		with := *o
		with.Namespace = metav1.NamespaceDefault
		o = &with
	}
	m, err := o.Manifests.load(o.Warn)
	if err != nil {
		return nil, err
	}
	if err := o.unmatched(m.objects); err != nil {
		return nil, err
	}
	given := o.cluster(m)
	given.Given = o.State.Empty() && o.Live == nil
	clusters := []*manifest.Cluster{given}
	if !o.State.Empty() {
		state, err := o.State.load(o.Warn)
		if err != nil {
			return nil, fmt.Errorf("--cluster-state: %w", err)
		}
		if len(state.problems) > 0 {
			return nil, fmt.Errorf("--cluster-state: %s", state.problems[0].String())
		}
		clusters = append(clusters, o.cluster(state))
	}
	snapshot, err := o.snapshot(m.objects)
	if err != nil {
		return nil, err
	}
	r := o.judge(ctx, snapshot, newLayers(o.Live, clusters...), m)
	r.Sort()
	return r, nil
}

// cluster makes facts of objects. Of two that are the same in one file the last one
// counts, as with kubectl apply.
func (o *Options) cluster(m *manifests) *manifest.Cluster {
	// Without the cluster's keys nobody can say whether a token is good.
	cluster := &manifest.Cluster{
		Namespace: o.Namespace, Keys: token.NewKeySet(token.KeySetOptions{Unavailable: true}),
		Makers: o.Makers, Programs: true, Templates: o.Templates,
	}
	seen := map[string]*object{}
	elsewhere := 0
	for i := range m.objects {
		object := &m.objects[i]
		whole, err := object.typed()
		if err == nil {
			err = cluster.AddFrom(object.Source, whole)
		}
		if err != nil {
			m.problem(object.ErrorAt("", err.Error()))
			continue
		}
		subject := o.subject(object)
		if subject.Name == "" {
			continue
		}
		id := object.GroupVersionKind().Group + "/" + subject.String()
		switch first := seen[id]; {
		case first == nil:
		case first.Source != object.Source:
			elsewhere++
		default:
			line, _ := first.Position("")
			o.Warn(object.ErrorAt("", fmt.Sprintf("%s is in %s:%d, too; the last one counts as a fact, all are judged", subject.String(), first.Source, line)).Error())
		}
		seen[id] = object
	}
	if elsewhere > 0 {
		o.Warn(plural(elsewhere, "object") + " of one file also in another: for what is in a file, or near it, its own counts")
	}
	return cluster
}

// typed returns the object with its apiVersion and kind, which items of a typed
// list need not have.
func (ob *object) typed() ([]byte, error) {
	if ob.named {
		return ob.JSON, nil
	}
	fields, err := ob.fields()
	if err != nil {
		return nil, err
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
	return policy.NewSnapshot(o.Compiler.Checks(), policies, policy.Options{Hold: true, WholeMessages: true}), errors.Join(errs...)
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
	if ob.built {
		return &report.Position{File: ob.Source, Line: 1}
	}
	line, column := ob.Position(path)
	return &report.Position{File: ob.Source, Line: line, Column: column}
}
