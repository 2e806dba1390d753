package workload

import (
	encoding "encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/json"
)

// Templates has the path of the pod template in each kind that has one. The zero
// value knows no kind; start from BuiltinTemplates.
type Templates struct {
	kinds     map[schema.GroupKind]string
	resources map[schema.GroupVersionResource]string
}

// BuiltinTemplates returns the kinds of Kubernetes that have a pod template.
func BuiltinTemplates() Templates {
	return Templates{kinds: map[schema.GroupKind]string{
		{Group: "apps", Kind: "Deployment"}:        "spec.template",
		{Group: "apps", Kind: "StatefulSet"}:       "spec.template",
		{Group: "apps", Kind: "DaemonSet"}:         "spec.template",
		{Group: "apps", Kind: "ReplicaSet"}:        "spec.template",
		{Group: "", Kind: "ReplicationController"}: "spec.template",
		{Group: "batch", Kind: "Job"}:              "spec.template",
		{Group: "batch", Kind: "CronJob"}:          "spec.jobTemplate.spec.template",
		{Group: "", Kind: "PodTemplate"}:           "template",
	}}
}

// Kinds returns the kinds of Kubernetes itself that have a pod template.
func (t Templates) Kinds() []schema.GroupKind { return slices.Collect(maps.Keys(t.kinds)) }

// With returns a copy with one more resource, whose pod template is at path, such
// as "spec.template". It fails if the resource is known already.
func (t Templates) With(resource schema.GroupVersionResource, path string) (Templates, error) {
	for kind := range t.kinds {
		if known, _ := meta.UnsafeGuessKindToResource(kind.WithVersion(resource.Version)); known == resource {
			return t, fmt.Errorf("%s is judged already: its pod template is at %s", resource.Resource, t.kinds[kind])
		}
	}
	if known, twice := t.resources[resource]; twice {
		return t, fmt.Errorf("it is given twice, with %s and %s", known, path)
	}
	out := Templates{kinds: t.kinds, resources: maps.Clone(t.resources)}
	if out.resources == nil {
		out.resources = map[schema.GroupVersionResource]string{}
	}
	out.resources[resource] = path
	return out, nil
}

var fieldPath = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*([.][A-Za-z_][A-Za-z0-9_-]*)*$`)

// ParseResource reads a resource and the path of its pod template, such as
// "argoproj.io/v1alpha1/rollouts=spec.template".
func ParseResource(text string) (schema.GroupVersionResource, string, error) {
	const want = "want GROUP/VERSION/RESOURCE=PATH, such as argoproj.io/v1alpha1/rollouts=spec.template"
	none := schema.GroupVersionResource{}
	name, path, _ := strings.Cut(text, "=")
	parts := strings.Split(name, "/")
	if len(parts) != 3 || slices.Contains(parts, "") {
		return none, "", errors.New(want)
	}
	if strings.ToLower(parts[2]) != parts[2] {
		return none, "", fmt.Errorf("%q is no resource: resources are plural and in lower case; %s", parts[2], want)
	}
	if !fieldPath.MatchString(path) {
		return none, "", fmt.Errorf("%q is no path of fields; %s", path, want)
	}
	return schema.GroupVersionResource{Group: parts[0], Version: parts[1], Resource: parts[2]}, path, nil
}

// pathOf returns the path of the pod template in a kind. For a kind that users
// added it goes by the resource, which it guesses from the kind if it is empty.
func (t Templates) pathOf(gvk schema.GroupVersionKind, resource schema.GroupVersionResource) (string, bool) {
	if path, ok := t.kinds[gvk.GroupKind()]; ok {
		return path, true
	}
	if resource.Empty() {
		resource, _ = meta.UnsafeGuessKindToResource(gvk)
	}
	path, ok := t.resources[resource]
	return path, ok
}

// PathOf returns the path of the pod template in a kind: "" for a Pod itself, and
// false for a kind without one.
func (t Templates) PathOf(gvk schema.GroupVersionKind) (string, bool) {
	if gvk.GroupKind() == (schema.GroupKind{Kind: "Pod"}) {
		return "", true
	}
	return t.pathOf(gvk, schema.GroupVersionResource{})
}

// Has reports whether a kind is Pod or has a pod template.
func (t Templates) Has(gvk schema.GroupVersionKind) bool {
	_, ok := t.pathOf(gvk, schema.GroupVersionResource{})
	return ok || gvk.GroupKind() == schema.GroupKind{Kind: "Pod"}
}

// ErrNoPod is returned for an object that stands for no pod.
var ErrNoPod = errors.New("the object is no Pod and has no pod template")

// FromJSON returns the pod that the object stands for. The object must have
// apiVersion and kind. FromJSON returns ErrNoPod for a kind without a pod, and for
// a workload without a template.
func (t Templates) FromJSON(object []byte) (*Pod, error) {
	return t.FromResource(schema.GroupVersionResource{}, object)
}

// FromResource is FromJSON for an object whose resource is known.
func (t Templates) FromResource(resource schema.GroupVersionResource, object []byte) (*Pod, error) {
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
	path, ok := t.pathOf(gvk, resource)
	if !ok {
		return nil, ErrNoPod
	}
	return t.fromTemplate(object, path)
}

func (t Templates) fromTemplate(object []byte, path string) (*Pod, error) {
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
	fillAccount(pod)
	return &Pod{Pod: pod, Prefix: path + ".", Template: true, Controlled: t.controlled(&outer.Metadata)}, nil
}

// OfTemplate returns the pod of a workload, given the workload's kind, metadata
// and pod template. It returns nil for a kind that is not among Kinds. It does not
// change the template.
func (t Templates) OfTemplate(kind schema.GroupKind, object metav1.Object, template *corev1.PodTemplateSpec) *Pod {
	path, ok := t.kinds[kind]
	if !ok {
		return nil
	}
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Namespace, pod.DeletionTimestamp = object.GetNamespace(), object.GetDeletionTimestamp()
	fillAccount(pod)
	return &Pod{Pod: pod, Prefix: path + ".", Template: true, Controlled: t.controlled(object)}
}

// Resources returns the resources that users added.
func (t Templates) Resources() []schema.GroupVersionResource {
	return slices.Collect(maps.Keys(t.resources))
}

// controlled reports whether an object's controller has a pod template.
func (t Templates) controlled(object metav1.Object) bool {
	owner := metav1.GetControllerOf(object)
	if owner == nil {
		return false
	}
	_, ok := t.pathOf(schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind), schema.GroupVersionResource{})
	return ok
}
