// Package workload answers one question: which pod does this object stand for?
// A Pod stands for itself; a Deployment, and any other kind with a pod
// template, for the pod that its template would make.
//
// It is pure: it imports the Kubernetes API types and nothing else of ours.
package workload

import (
	encoding "encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/json"
)

// Pod is a pod to judge, and where in the object it stands.
type Pod struct {
	*corev1.Pod
	// Prefix goes before "spec" in the paths of the object as the user wrote
	// it: "" for a Pod, "spec.template." for a Deployment.
	Prefix string
	// Template is true where the pod was made from a template.
	Template bool
}

// Templates maps a group and kind to the path of its pod template. The zero
// value knows no kind; start from BuiltinTemplates.
type Templates map[schema.GroupKind]string

// BuiltinTemplates returns the kinds of Kubernetes that have a pod template.
func BuiltinTemplates() Templates {
	return Templates{
		{Group: "apps", Kind: "Deployment"}:        "spec.template",
		{Group: "apps", Kind: "StatefulSet"}:       "spec.template",
		{Group: "apps", Kind: "DaemonSet"}:         "spec.template",
		{Group: "apps", Kind: "ReplicaSet"}:        "spec.template",
		{Group: "", Kind: "ReplicationController"}: "spec.template",
		{Group: "batch", Kind: "Job"}:              "spec.template",
		{Group: "batch", Kind: "CronJob"}:          "spec.jobTemplate.spec.template",
		{Group: "", Kind: "PodTemplate"}:           "template",
	}
}

// ErrNoPod is returned for an object that stands for no pod.
var ErrNoPod = errors.New("the object is no Pod and has no pod template")

// FromJSON returns the pod that the object stands for. The object must carry
// apiVersion and kind. It returns ErrNoPod for kinds without a pod, and for a
// workload whose template is not there.
func (t Templates) FromJSON(object []byte) (*Pod, error) {
	var typeMeta metav1.TypeMeta
	if err := json.UnmarshalCaseSensitivePreserveInts(object, &typeMeta); err != nil {
		return nil, fmt.Errorf("not an object: %w", err)
	}
	if typeMeta.APIVersion == "" || typeMeta.Kind == "" {
		return nil, errors.New("apiVersion and kind must be given")
	}
	gvk := typeMeta.GroupVersionKind()
	if gvk.GroupKind() == (schema.GroupKind{Kind: "Pod"}) {
		pod := &corev1.Pod{}
		if err := json.UnmarshalCaseSensitivePreserveInts(object, pod); err != nil {
			return nil, fmt.Errorf("not a Pod: %w", err)
		}
		return OfPod(pod), nil
	}
	path, ok := t[gvk.GroupKind()]
	if !ok {
		return nil, ErrNoPod
	}
	return fromTemplate(object, path)
}

func fromTemplate(object []byte, path string) (*Pod, error) {
	var outer struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	if err := json.UnmarshalCaseSensitivePreserveInts(object, &outer); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	inner := encoding.RawMessage(object)
	for step := range strings.SplitSeq(path, ".") {
		var fields map[string]encoding.RawMessage
		if err := json.UnmarshalCaseSensitivePreserveInts(inner, &fields); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if inner = fields[step]; inner == nil {
			return nil, ErrNoPod
		}
	}
	var template corev1.PodTemplateSpec
	if err := json.UnmarshalCaseSensitivePreserveInts(inner, &template); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Namespace = outer.Metadata.Namespace
	pod.DeletionTimestamp = outer.Metadata.DeletionTimestamp
	complete(pod)
	return &Pod{Pod: pod, Prefix: path + ".", Template: true}, nil
}

// OfPod returns what a Pod stands for: itself, with its account filled in.
func OfPod(pod *corev1.Pod) *Pod {
	complete(pod)
	return &Pod{Pod: pod}
}

// complete gives a pod that was written by hand its account, as the API server
// does: the deprecated alias counts where the field is empty, and a pod that
// names none runs as default. Source: k8s.io/kubernetes, pkg/apis/core/v1
// (conversion.go) and plugin/pkg/admission/serviceaccount.
func complete(pod *corev1.Pod) {
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = pod.Spec.DeprecatedServiceAccount
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = "default"
	}
}
