package audit

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/report"
)

// maxAt is how many objects at fault are named, and no more.
const maxAt = 10

// workloads gathers findings by top-level owner. Those on a template and on the
// pods that were made from it are one.
type workloads struct {
	byUID map[string]*gathered
	// refused are the resources that may not be listed.
	refused []string
}

type gathered struct {
	ref    Ref
	bare   bool
	pods   int
	stuck  int
	faults []*fault
}

type fault struct {
	Finding
	// template is set where the finding stands in a template: that is what
	// people change, and what the next pods are made from.
	template bool
	path     string // in the pod
	at       []Ref
	pods     int // that have it
	stuck    int // of those
}

func newWorkloads() *workloads { return &workloads{byUID: map[string]*gathered{}} }

// unseen reports whether it can't be told that an owner is without a fault, since
// it or its pods may not be listed.
func (w *workloads) unseen(owner *corev1.ObjectReference) bool {
	if owner == nil || len(w.refused) == 0 {
		return false
	}
	plural, _ := meta.UnsafeGuessKindToResource(owner.GroupVersionKind())
	return slices.Contains(w.refused, "pods") || slices.Contains(w.refused, plural.Resource)
}

func (w *workloads) of(top Ref) *gathered {
	g := w.byUID[top.UID]
	if g == nil {
		g = &gathered{ref: top}
		w.byUID[top.UID] = g
	}
	return g
}

// add takes what was found of one object. Of a pod, stuck tells whether it waits.
func (w *workloads) add(top Ref, o *listed, result *Result, stuck bool) {
	isPod := o.Pod != nil && !o.Pod.Template
	if !isPod && len(result.Findings) == 0 {
		return
	}
	g := w.of(top)
	if isPod {
		g.pods++
		if stuck {
			g.stuck++
		}
		g.bare = top.UID == string(o.meta.GetUID())
	}
	for i := range result.Findings {
		g.take(o, &result.Findings[i], isPod, stuck)
	}
}

func (g *gathered) take(o *listed, found *Finding, isPod, stuck bool) {
	path := o.FieldPath(&found.Finding)
	at := slices.IndexFunc(g.faults, func(f *fault) bool {
		return f.Check == found.Check && f.path == path && f.Object == found.Object
	})
	if at < 0 {
		at = len(g.faults)
		g.faults = append(g.faults, &fault{Finding: *found, path: path})
	}
	f := g.faults[at]
	if isPod {
		f.pods++
		if stuck {
			f.stuck++
		}
	}
	switch {
	case !isPod && !f.template: // the template speaks for its pods
		action, policies, would, wouldPolicies := f.Action, f.Policies, f.Would, f.WouldPolicies
		f.Finding, f.template, f.at = *found, true, nil
		f.strengthen(action, policies, would, wouldPolicies)
	default:
		f.strengthen(found.Action, found.Policies, found.Would, found.WouldPolicies)
	}
	if f.template != isPod && len(f.at) < maxAt {
		f.at = append(f.at, o.ref())
	}
}

// strengthen takes over the stronger action: of a template it is weaker, as a
// policy's templateAction says.
func (f *fault) strengthen(action v1alpha1.Action, policies []string, would v1alpha1.Action, wouldPolicies []string) {
	if rank(action) > rank(f.Action) {
		f.Action, f.Policies = action, policies
	}
	if rank(would) > rank(f.Would) {
		f.Would, f.WouldPolicies = would, wouldPolicies
	}
}

func rank(a v1alpha1.Action) int {
	return slices.Index([]v1alpha1.Action{v1alpha1.Off, v1alpha1.Audit, v1alpha1.Warn, v1alpha1.Deny}, a)
}

// report returns the workloads that have findings.
func (w *workloads) report() []report.Workload {
	out := []report.Workload{}
	for _, g := range w.byUID {
		if len(g.faults) == 0 {
			continue
		}
		r := report.Workload{Ref: g.ref, Bare: g.bare, Pods: g.pods, Stuck: g.stuck}
		for _, f := range g.faults {
			slices.SortFunc(f.at, func(a, b Ref) int { return strings.Compare(a.Name, b.Name) })
			r.Findings = append(r.Findings, report.Fault{
				Check: f.Check, Action: f.Action, Would: f.Would, State: f.State.String(), Object: f.Object.String(), Path: f.Path,
				Message: f.Message, When: f.when(g), Policies: f.Policies, Exempted: f.Exempted, At: f.at, Pods: f.pods,
			})
		}
		out = append(out, r)
	}
	return out
}

// effect is when a fault of a check makes itself felt.
type effect uint8

const (
	// noEffect: nothing breaks, it is how the pod is made that is at fault.
	noEffect effect = iota
	// atStart: the pod runs on until it is started anew.
	atStart
	// atCreation: the next pod can't be created.
	atCreation
	// inUse: whoever uses it is refused from now on.
	inUse
)

func effectOf(check string) effect {
	switch check {
	case "secret-exists", "secret-key-exists", "image-pull-secret-exists", "config-map-exists", "trust-bundle-exists", "token-secret-populated":
		return atStart
	case "service-account-exists":
		return atCreation
	case "token-valid", "token-secret-owner", "token-ca-current":
		return inUse
	}
	return noEffect
}

// when says when the fault breaks the workload.
func (f *fault) when(g *gathered) string {
	if f.State == facts.Unknown {
		return ""
	}
	switch effectOf(f.Check) {
	case atStart:
		switch {
		case f.stuck > 0:
			return "now: pods wait for it"
		case f.pods > 0:
			return "at the next restart"
		case g.pods > 0:
			return "with the next pod"
		}
		return "when it starts a pod"
	case atCreation:
		return "with the next pod"
	case inUse:
		if f.pods > 0 {
			return "now: calls made with it fail"
		}
		return "when it starts a pod"
	case noEffect:
	}
	return ""
}

// waiting returns why a pod does not run, as kubectl shows it; "" if it runs, or
// waits for a node.
func waiting(pod *corev1.Pod) string {
	if pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return ""
	}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			w := list[i].State.Waiting
			if w == nil {
				continue
			}
			switch w.Reason {
			case "CreateContainerConfigError", "CreateContainerError", "ErrImagePull", "ImagePullBackOff", "ContainerCreating":
				return w.Reason
			}
		}
	}
	if pod.Status.Phase == corev1.PodPending && len(pod.Status.ContainerStatuses) == 0 {
		return "ContainerCreating" // what the kubelet says before it has said anything
	}
	return ""
}
