package admission

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/workload"
)

// podReview is an AdmissionReview whose objects are Pods. Decoding straight
// into the pod reads the body once, where a RawExtension would read it twice.
type podReview struct {
	metav1.TypeMeta `json:",inline"`
	Request         *podRequest `json:"request"`
}

type podRequest struct {
	UID         types.UID                 `json:"uid"`
	Kind        metav1.GroupVersionKind   `json:"kind"`
	SubResource string                    `json:"subResource"`
	Namespace   string                    `json:"namespace"`
	Operation   admissionv1.Operation     `json:"operation"`
	UserInfo    authenticationv1.UserInfo `json:"userInfo"`
	Object      *pod                      `json:"object"`
	OldObject   *pod                      `json:"oldObject"`
}

// pod has the fields of a Pod that a judgement looks at. What is not here, such
// as managedFields (half of what an API server sends), probes, resources and
// the status, is passed over without being decoded. A check that reads another
// field needs it here; TestDecodingLosesNothing tells.
type pod struct {
	Metadata struct {
		Name              string            `json:"name"`
		GenerateName      string            `json:"generateName"`
		Namespace         string            `json:"namespace"`
		Labels            map[string]string `json:"labels"`
		Annotations       map[string]string `json:"annotations"`
		DeletionTimestamp *metav1.Time      `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		Volumes                      []corev1.Volume               `json:"volumes"`
		InitContainers               []container                   `json:"initContainers"`
		Containers                   []container                   `json:"containers"`
		EphemeralContainers          []container                   `json:"ephemeralContainers"`
		ServiceAccountName           string                        `json:"serviceAccountName"`
		DeprecatedServiceAccount     string                        `json:"serviceAccount"`
		AutomountServiceAccountToken *bool                         `json:"automountServiceAccountToken"`
		ImagePullSecrets             []corev1.LocalObjectReference `json:"imagePullSecrets"`
	} `json:"spec"`
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

// decodePod decodes the body of a review of pods. Objects of other kinds
// (bindings, evictions) share no field with a Pod but metadata; they stand for
// no pod.
func decodePod(body []byte) (*podRequest, error) {
	var review podReview
	if err := json.Unmarshal(body, &review); err != nil {
		return nil, fmt.Errorf("the body is not an AdmissionReview of a Pod: %w", err)
	}
	want := admissionv1.SchemeGroupVersion.String()
	if review.APIVersion != want || review.Kind != "AdmissionReview" {
		return nil, fmt.Errorf("expected apiVersion %q and kind \"AdmissionReview\", found %q and %q", want, review.APIVersion, review.Kind)
	}
	if review.Request == nil {
		return nil, errors.New("the AdmissionReview has no request")
	}
	if review.Request.UID == "" {
		return nil, errors.New("the request has no uid")
	}
	return review.Request, nil
}

func (r *podRequest) isPod() bool { return r.Kind.Group == "" && r.Kind.Kind == "Pod" }

// review is what the policies get to see of the request.
func (r *podRequest) review() *policy.Review {
	out := &policy.Review{
		Operation: r.Operation, SubResource: r.SubResource, UserInfo: r.UserInfo, Namespace: r.Namespace,
	}
	if !r.isPod() {
		return out
	}
	if r.Object != nil {
		out.Pod = workload.OfPod(r.Object.pod())
		if out.Namespace == "" {
			out.Namespace = r.Object.Metadata.Namespace
		}
	}
	if r.OldObject != nil {
		out.Old = workload.OfPod(r.OldObject.pod())
	}
	return out
}

// answer maps a verdict to the response.
func answer(uid types.UID, v *policy.Verdict) *admissionv1.AdmissionReview {
	response := &admissionv1.AdmissionResponse{
		UID: uid, Allowed: v.Allowed, Warnings: v.Warnings, AuditAnnotations: v.AuditAnnotations(),
	}
	if !v.Allowed {
		response.Result = &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: v.Message,
		}
	}
	return &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: response,
	}
}
