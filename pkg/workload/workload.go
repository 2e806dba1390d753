// Package workload answers one question: which pod does this object stand for?
// A Pod stands for itself; a Deployment, and any other kind with a pod
// template, for the pod that its template would make.
//
// It is pure, and it may import nothing of ours: only the Kubernetes API types.
package workload

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Pod is a pod to judge, and where in the object it stands.
type Pod struct {
	*corev1.Pod
	// Prefix is the path of the pod within the object that the user wrote: "" for
	// a Pod, "spec.template." for a Deployment.
	Prefix string
	// Template is true if the object is a workload, and the pod is what its
	// template would make.
	Template bool
	// Controlled is true if the workload has a controller with a pod template of
	// its own, as a ReplicaSet has a Deployment.
	Controlled bool
	// Written is true if the object comes from a manifest that no API server has
	// seen yet, so that it lacks the defaults that an API server sets.
	Written bool
}

// AsWritten reports whether the pod lacks what an API server adds to pods, above
// all the token volume.
func (p *Pod) AsWritten() bool { return p.Template || p.Written }

// Unstructured returns the pod as decoded JSON, given the object that it came
// from and the namespace of the request. It keeps every field of the object, also
// those that corev1 does not know.
func (p *Pod) Unstructured(object map[string]any, namespace string) map[string]any {
	pod, inner := maps.Clone(object), object
	if p.Template {
		for step := range strings.SplitSeq(strings.TrimSuffix(p.Prefix, "."), ".") {
			inner, _ = inner[step].(map[string]any)
		}
		pod = map[string]any{"apiVersion": "v1", "kind": "Pod"}
	}
	part := func(name string) map[string]any {
		fields, _ := inner[name].(map[string]any)
		if fields = maps.Clone(fields); fields == nil {
			fields = map[string]any{}
		}
		pod[name] = fields
		return fields
	}
	part("metadata")["namespace"] = namespace
	part("spec")["serviceAccountName"] = p.Spec.ServiceAccountName
	return pod
}

// OfPod returns the pod that a Pod stands for: itself, with its account filled in.
func OfPod(pod *corev1.Pod) *Pod {
	fillAccount(pod)
	return &Pod{Pod: pod}
}

// fillAccount sets the account as the API server does. If the field is empty, the
// deprecated alias counts, and a pod that names no account runs as default. Source: k8s.io/kubernetes, pkg/apis/core/v1
// (conversion.go) and plugin/pkg/admission/serviceaccount.
func fillAccount(pod *corev1.Pod) {
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = pod.Spec.DeprecatedServiceAccount
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = "default"
	}
}
