package admission

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	kjson "sigs.k8s.io/json"

	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/printable"
	"tokenward.dev/tokenward/pkg/workload"
)

// Request is a decoded review.
type Request struct {
	uid    types.UID
	kind   string // of the object, from a closed set
	review policy.Attributes
	// warnings are about the object, before anybody judged it.
	warnings []string
}

// Decoder reads the body of an AdmissionReview.
type Decoder func(body []byte) (*Request, error)

// review is an AdmissionReview whose objects are decoded as T.
type review[T any] struct {
	metav1.TypeMeta `json:",inline"`
	Request         *request[T] `json:"request"`
}

type request[T any] struct {
	UID         types.UID                   `json:"uid"`
	Kind        metav1.GroupVersionKind     `json:"kind"`
	Resource    metav1.GroupVersionResource `json:"resource"`
	SubResource string                      `json:"subResource"`
	Name        string                      `json:"name"`
	Namespace   string                      `json:"namespace"`
	Operation   admissionv1.Operation       `json:"operation"`
	UserInfo    authenticationv1.UserInfo   `json:"userInfo"`
	Object      T                           `json:"object"`
	OldObject   T                           `json:"oldObject"`
	DryRun      *bool                       `json:"dryRun"`
}

func decode[T any](body []byte, what string) (*request[T], error) {
	var in review[T]
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("the body is not an AdmissionReview of %s: %w", what, err)
	}
	want := admissionv1.SchemeGroupVersion.String()
	if in.APIVersion != want || in.Kind != "AdmissionReview" {
		return nil, fmt.Errorf("expected apiVersion %q and kind \"AdmissionReview\", found %q and %q", want, in.APIVersion, in.Kind)
	}
	if in.Request == nil {
		return nil, errors.New("the AdmissionReview has no request")
	}
	if in.Request.UID == "" {
		return nil, errors.New("the request has no uid")
	}
	return in.Request, nil
}

// decoded returns what does not depend on the object.
func (r *request[T]) decoded() *Request {
	return &Request{uid: r.UID, kind: "other", review: policy.Attributes{
		Operation: r.Operation, SubResource: r.SubResource, UserInfo: r.UserInfo, Namespace: r.Namespace,
		DryRun: r.DryRun != nil && *r.DryRun,
	}}
}

// values decodes the body once more, whole, for those policies that have
// conditions: a review by others alone need not know most fields.
func values(body []byte, r *policy.Attributes) func() *policy.Values {
	return func() *policy.Values {
		var in struct {
			Request map[string]any `json:"request"`
		}
		if kjson.UnmarshalCaseSensitivePreserveInts(body, &in) != nil {
			return nil
		}
		out := &policy.Values{Request: in.Request}
		if o, ok := in.Request["object"].(map[string]any); ok && r.Pod != nil {
			out.Object = r.Pod.Unstructured(o, r.Namespace)
		}
		if o, ok := in.Request["oldObject"].(map[string]any); ok && r.Old != nil {
			out.OldObject = r.Old.Unstructured(o, r.Namespace)
		}
		delete(in.Request, "object")
		delete(in.Request, "oldObject")
		return out
	}
}

// Workloads decodes reviews of whatever has a pod template.
func Workloads(templates workload.Templates) Decoder {
	kinds := templates.Kinds()
	return func(body []byte) (*Request, error) {
		in, err := decode[json.RawMessage](body, "an object")
		if err != nil {
			return nil, err
		}
		out := in.decoded()
		if kind := (schema.GroupKind{Group: in.Kind.Group, Kind: in.Kind.Kind}); slices.Contains(kinds, kind) {
			out.kind = kind.Kind
		}
		podOf := func(object json.RawMessage) (*workload.Pod, error) {
			if len(object) == 0 || string(object) == "null" {
				return nil, workload.ErrNoPod
			}
			return templates.FromResource(schema.GroupVersionResource(in.Resource), object)
		}
		if out.review.Pod, err = podOf(in.Object); err != nil && !errors.Is(err, workload.ErrNoPod) {
			// A kind of somebody else's: to hold it up would not be right.
			out.warnings = []string{printable.Text("the pod template of this "+in.Kind.Kind+" can't be read, so it was not judged: "+err.Error(), policy.MaxMessage)}
		}
		out.review.Old, _ = podOf(in.OldObject) // one that can't be read is none
		out.review.Values = values(body, &out.review)
		return out, nil
	}
}

// pod has the fields of a Pod that a judgement looks at. What is not here, such
// as managedFields (half of what an API server sends), probes, resources and
// the status, is passed over without being decoded. A check that reads another
// field needs it here; TestDecodingLosesNothing tells.
type pod struct {
	Metadata metadata `json:"metadata"`
	Spec     podSpec  `json:"spec"`
}

type metadata struct {
	Name              string            `json:"name"`
	GenerateName      string            `json:"generateName"`
	Namespace         string            `json:"namespace"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	DeletionTimestamp *metav1.Time      `json:"deletionTimestamp"`
}

type podSpec struct {
	Volumes                      []corev1.Volume               `json:"volumes"`
	InitContainers               []container                   `json:"initContainers"`
	Containers                   []container                   `json:"containers"`
	EphemeralContainers          []container                   `json:"ephemeralContainers"`
	ServiceAccountName           string                        `json:"serviceAccountName"`
	DeprecatedServiceAccount     string                        `json:"serviceAccount"`
	AutomountServiceAccountToken *bool                         `json:"automountServiceAccountToken"`
	ImagePullSecrets             []corev1.LocalObjectReference `json:"imagePullSecrets"`
	NodeName                     string                        `json:"nodeName"`
	PriorityClassName            string                        `json:"priorityClassName"`
	SchedulingGates              []corev1.PodSchedulingGate    `json:"schedulingGates"`
}

type container struct {
	Name          string                 `json:"name"`
	Env           []corev1.EnvVar        `json:"env"`
	EnvFrom       []corev1.EnvFromSource `json:"envFrom"`
	VolumeMounts  []corev1.VolumeMount   `json:"volumeMounts"`
	VolumeDevices []corev1.VolumeDevice  `json:"volumeDevices"`
}

func (p *pod) pod() *corev1.Pod {
	out := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Metadata.Name, GenerateName: p.Metadata.GenerateName, Namespace: p.Metadata.Namespace,
			Labels: p.Metadata.Labels, Annotations: p.Metadata.Annotations, DeletionTimestamp: p.Metadata.DeletionTimestamp,
		},
		Spec: corev1.PodSpec{
			Volumes: p.Spec.Volumes, ImagePullSecrets: p.Spec.ImagePullSecrets,
			InitContainers: containers(p.Spec.InitContainers), Containers: containers(p.Spec.Containers),
			ServiceAccountName: p.Spec.ServiceAccountName, DeprecatedServiceAccount: p.Spec.DeprecatedServiceAccount,
			AutomountServiceAccountToken: p.Spec.AutomountServiceAccountToken,
			NodeName:                     p.Spec.NodeName, PriorityClassName: p.Spec.PriorityClassName, SchedulingGates: p.Spec.SchedulingGates,
		},
	}
	for _, c := range containers(p.Spec.EphemeralContainers) {
		out.Spec.EphemeralContainers = append(out.Spec.EphemeralContainers, corev1.EphemeralContainer{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon(c),
		})
	}
	return out
}

func containers(in []container) []corev1.Container {
	if len(in) == 0 {
		return nil
	}
	out := make([]corev1.Container, len(in))
	for i, c := range in {
		out[i] = corev1.Container{Name: c.Name, Env: c.Env, EnvFrom: c.EnvFrom, VolumeMounts: c.VolumeMounts, VolumeDevices: c.VolumeDevices}
	}
	return out
}

// Pods decodes reviews of pods and their subresources. Objects of other kinds
// (bindings, evictions) share no field with a Pod but metadata; they stand for
// no pod.
func Pods(body []byte) (*Request, error) {
	in, err := decode[*pod](body, "a Pod")
	if err != nil {
		return nil, err
	}
	out := in.decoded()
	if in.Kind.Group != "" || in.Kind.Kind != "Pod" {
		return out, nil
	}
	out.kind = "Pod"
	if in.Object != nil {
		out.review.Pod = workload.OfPod(in.Object.pod())
		if out.review.Namespace == "" {
			out.review.Namespace = in.Object.Metadata.Namespace
		}
	}
	if in.OldObject != nil {
		out.review.Old = workload.OfPod(in.OldObject.pod())
	}
	out.review.Values = values(body, &out.review)
	return out, nil
}
