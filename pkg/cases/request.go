package cases

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"

	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/strictyaml"
	"tokenward.dev/tokenward/pkg/workload"
)

func (c *Case) useRequest(d *strictyaml.Document) error {
	r := &c.File.Request
	if r.Operation == "" {
		r.Operation = admissionv1.Create
	}
	operations := []admissionv1.Operation{admissionv1.Create, admissionv1.Update, admissionv1.Delete, admissionv1.Connect}
	if !slices.Contains(operations, r.Operation) {
		return d.ErrorAt("request.operation", fmt.Sprintf("%q is none of CREATE, UPDATE, DELETE, CONNECT", r.Operation))
	}
	c.review = &policy.Attributes{Operation: r.Operation, SubResource: r.SubResource, UserInfo: r.UserInfo, Namespace: r.Namespace, DryRun: r.DryRun}
	if r.Operation == admissionv1.Delete && empty(r.OldObject) {
		return d.ErrorAt("request", "oldObject must be given for a DELETE")
	}
	if r.Operation != admissionv1.Delete && empty(r.Object) {
		return d.ErrorAt("request", "object must be given for a "+string(r.Operation))
	}
	var err error
	if c.review.Pod, err = podOf(d, "request.object", r.Object); err != nil {
		return err
	}
	if c.review.Old, err = podOf(d, "request.oldObject", r.OldObject); err != nil {
		return err
	}
	if c.review.Namespace == "" && c.review.Pod != nil {
		c.review.Namespace = c.review.Pod.Namespace
	}
	if c.review.Namespace == "" {
		c.review.Namespace = metav1.NamespaceDefault
	}
	c.review.Values = func() *policy.Values { return c.values(c.review, r.Object) }
	return nil
}

// reviewOf returns the review of another object in place of the request's.
func (c *Case) reviewOf(object json.RawMessage) (*policy.Attributes, error) {
	review := *c.review
	pod, err := workload.BuiltinTemplates().FromJSON(object)
	if err != nil && !errors.Is(err, workload.ErrNoPod) {
		return nil, err
	}
	review.Pod = pod
	review.Values = func() *policy.Values { return c.values(&review, object) }
	return &review, nil
}

// values returns what conditions see: what an API server would send.
func (c *Case) values(review *policy.Attributes, of json.RawMessage) *policy.Values {
	decoded := func(object json.RawMessage, pod *workload.Pod) (whole *metav1.PartialObjectMetadata, asPod map[string]any) {
		var fields map[string]any
		whole = &metav1.PartialObjectMetadata{}
		if pod == nil || kjson.UnmarshalCaseSensitivePreserveInts(object, &fields) != nil || json.Unmarshal(object, whole) != nil {
			return whole, nil
		}
		return whole, pod.Unstructured(fields, c.review.Namespace)
	}
	r := &c.File.Request
	whole, object := decoded(of, review.Pod)
	_, old := decoded(r.OldObject, review.Old)
	gvk := whole.GroupVersionKind()
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	kind, resource := metav1.GroupVersionKind(gvk), metav1.GroupVersionResource(plural)
	request, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&admissionv1.AdmissionRequest{
		UID: "case", Kind: kind, RequestKind: &kind, Resource: resource, RequestResource: &resource,
		SubResource: r.SubResource, RequestSubResource: r.SubResource, Name: whole.Name, Namespace: c.review.Namespace,
		Operation: r.Operation, UserInfo: r.UserInfo, DryRun: &r.DryRun,
	})
	if err != nil {
		return nil
	}
	delete(request, "object")
	delete(request, "oldObject")
	return &policy.Values{Object: object, OldObject: old, Request: request}
}

func empty(object json.RawMessage) bool { return len(object) == 0 || string(object) == "null" }

// podOf returns nil for an object that stands for no pod, or for none. A field
// or kind that seems to be misspelled is an error: the case would show nothing.
func podOf(d *strictyaml.Document, at string, object json.RawMessage) (*workload.Pod, error) {
	if empty(object) {
		return nil, nil //nolint:nilnil // no object, no pod
	}
	part := d.Part(at, object)
	var typeMeta metav1.TypeMeta
	if err := part.Peek(&typeMeta); err != nil {
		return nil, err
	}
	templates := workload.BuiltinTemplates()
	if typeMeta.Kind == "Pod" && typeMeta.APIVersion == "v1" {
		if err := part.DecodeLenient(&corev1.Pod{}); err != nil {
			return nil, err
		}
	}
	for _, kind := range templates.Kinds() {
		if strings.EqualFold(typeMeta.Kind, kind.Kind) && typeMeta.Kind != kind.Kind {
			return nil, part.ErrorAt("kind", fmt.Sprintf("unknown kind %q; did you mean %q?", typeMeta.Kind, kind.Kind))
		}
	}
	if strings.EqualFold(typeMeta.Kind, "Pod") && typeMeta.Kind != "Pod" {
		return nil, part.ErrorAt("kind", fmt.Sprintf("unknown kind %q; did you mean \"Pod\"?", typeMeta.Kind))
	}
	pod, err := templates.FromJSON(object)
	switch {
	case errors.Is(err, workload.ErrNoPod):
		return nil, nil //nolint:nilnil // a kind without a pod
	case err != nil:
		return nil, part.ErrorAt("", err.Error())
	}
	return pod, nil
}
