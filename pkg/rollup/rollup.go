// Package rollup gathers the findings of pods and templates by top-level owner:
// those on a template and on the pods that were made from it are one. It also
// says when a fault breaks the workload, and when a pod counts as stuck.
//
// It may import packages listing, evaluate, policy, report, facts and apis,
// and nothing else of ours.
package rollup

import (
	"slices"
	"strings"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/report"
)

// maxAt is how many objects at fault a Fault names, and no more.
const maxAt = 10

// Rollup has the workloads of which something was judged, by uid.
type Rollup map[string]*Workload

// Workload is a top-level owner of pods, or a pod that has none.
type Workload struct {
	Ref report.Ref
	// Bare is set for a pod that nobody makes again.
	Bare bool
	// Pods that were judged, and how many of them are stuck.
	Pods, Stuck int
	Faults      []*Fault
	byField     map[field]*Fault
}

// field is what findings are put together by.
type field struct {
	check, path string
	object      facts.Object
}

// Fault is a finding on a workload.
type Fault struct {
	evaluate.Finding
	// PodPath is the path of the field in the pod, whatever object it is in.
	PodPath string
	// At are the first of the objects at fault: templates, if any has the fault.
	At []report.Ref
	// Pods that have the fault, and how many of them are stuck.
	Pods, Stuck int
	// waiting counts the pods that have the fault and have not started yet.
	waiting int
	// refused is set where Tokenward refuses the workload's pods because of it.
	refused bool
	// template is set where the finding is on a template: that is what people
	// change, and what the next pods are made from.
	template bool
}

// Ref names an object as reports do.
func Ref(item *listing.Item) report.Ref {
	apiVersion, kind := item.Kind.ToAPIVersionAndKind()
	return report.Ref{APIVersion: apiVersion, Kind: kind, Namespace: item.Namespace, Name: item.Name, UID: string(item.Meta.GetUID())}
}

// Add adds what was found on an object that top is the top-level owner of. stuck
// is set for a pod that is stuck.
func (r Rollup) Add(top report.Ref, item *listing.Item, result *evaluate.Result, stuck bool) {
	isPod := item.IsPod()
	if !isPod && len(result.Findings) == 0 {
		return
	}
	w := r[top.UID]
	if w == nil {
		w = &Workload{Ref: top, byField: map[field]*Fault{}}
		r[top.UID] = w
	}
	if isPod {
		w.Pods++
		if stuck {
			w.Stuck++
		}
		w.Bare = top.UID == string(item.Meta.GetUID())
	}
	for i := range result.Findings {
		w.addFinding(item, &result.Findings[i], stuck)
	}
}

func (w *Workload) addFinding(item *listing.Item, found *evaluate.Finding, stuck bool) {
	path, isPod := item.PodPath(found.Path), item.IsPod()
	key := field{found.Check, path, found.Object}
	f := w.byField[key]
	if f == nil {
		f = &Fault{Finding: *found, PodPath: path}
		w.byField[key], w.Faults = f, append(w.Faults, f)
	}
	if isPod {
		f.Pods++
		if stuck {
			f.Stuck++
		}
		if waitingFor(item.Pod.Pod) != "" {
			f.waiting++
		}
	}
	if !isPod && !f.template { // from here on the fault is reported at the template
		ofPods := f.Finding
		f.Finding, f.template, f.At = *found, true, nil
		found = &ofPods
	}
	f.strengthen(found)
	if !isPod && refuses(item.Meta, f.Check) {
		f.refused, f.Action = true, v1alpha1.Deny
	}
	if f.template != isPod && len(f.At) < maxAt {
		f.At = append(f.At, Ref(item))
	}
}

// strengthen adopts the stronger action: that on a template is weaker, as a
// policy's templateAction says.
func (f *Fault) strengthen(other *evaluate.Finding) {
	if other.Action.StrongerThan(f.Action) {
		f.Action, f.Policies = other.Action, other.Policies
	}
	if other.Would.StrongerThan(f.Would) {
		f.Would, f.WouldPolicies = other.Would, other.WouldPolicies
	}
}

// Report returns the workloads that have faults.
func (r Rollup) Report() []report.Workload {
	out := []report.Workload{}
	for _, w := range r {
		if len(w.Faults) == 0 {
			continue
		}
		reported := report.Workload{Ref: w.Ref, Bare: w.Bare, Pods: w.Pods, Stuck: w.Stuck}
		for _, f := range w.Faults {
			slices.SortFunc(f.At, func(a, b report.Ref) int { return strings.Compare(a.Name, b.Name) })
			reported.Findings = append(reported.Findings, report.Fault{
				Check: f.Check, Action: f.Action, Would: f.Would, State: f.State.String(), Object: f.Object.String(), Path: f.Path,
				Message: f.Message, When: f.When(w), Policies: f.Policies, Exempted: f.Exempted, At: f.At, Pods: f.Pods,
			})
		}
		out = append(out, reported)
	}
	return out
}

// When says when a fault of a workload breaks it; "" if it breaks nothing, or
// that is unknown.
func (f *Fault) When(w *Workload) string {
	switch {
	case f.refused:
		return "now: its pods are refused"
	case f.State == facts.Unknown:
		return ""
	}
	switch f.Effect {
	case policy.BreaksAtStart:
		switch {
		case f.Stuck > 0, f.waiting > 0:
			return "now: pods wait for it"
		case f.Pods > 0:
			return "at the next restart"
		case w.Pods > 0:
			return "with the next pod"
		}
		return "when it starts a pod"
	case policy.BreaksAtCreation:
		return "with the next pod"
	case policy.BreaksInUse:
		if f.Pods > 0 {
			return "now: calls made with it fail"
		}
		return "when it starts a pod"
	case policy.BreaksNothing:
	}
	return ""
}
