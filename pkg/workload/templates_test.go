package workload

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const rollouts = "argoproj.io/v1alpha1/rollouts=spec.template"

// withRollouts knows one resource more than Kubernetes itself has.
func withRollouts(t *testing.T) Templates {
	t.Helper()
	resource, path, err := ParseResource(rollouts)
	if err != nil {
		t.Fatal(err)
	}
	templates, err := BuiltinTemplates().With(resource, path)
	if err != nil {
		t.Fatal(err)
	}
	return templates
}

// objectOf puts a template where a kind has it.
func objectOf(apiVersion, kind, path string, template any) map[string]any {
	inner := template
	steps := strings.Split(path, ".")
	for _, step := range slices.Backward(steps) {
		inner = map[string]any{step: inner}
	}
	object := maps.Clone(inner.(map[string]any)) //nolint:forcetypeassert // it was made so
	object["apiVersion"], object["kind"] = apiVersion, kind
	object["metadata"] = map[string]any{"name": "w", "namespace": "shop", "labels": map[string]any{"of": "object"}}
	return object
}

// Both ways to a workload's pod must lead to the same one.
func TestEveryKindOfKubernetesLeadsToThePodOfItsTemplate(t *testing.T) {
	templates := BuiltinTemplates()
	if len(templates.Kinds()) != 8 {
		t.Errorf("got %v", templates.Kinds())
	}
	for _, kind := range templates.Kinds() {
		path := templates.kinds[kind]
		group := kind.WithVersion("v1").GroupVersion().String()
		template := map[string]any{
			"metadata": map[string]any{"labels": map[string]any{"of": "pod"}},
			"spec":     map[string]any{"serviceAccount": "runner"},
		}
		text, err := json.Marshal(objectOf(group, kind.Kind, path, template))
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := templates.FromJSON(text)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if decoded.Prefix != path+"." || !decoded.Template || decoded.Labels["of"] != "pod" || decoded.Namespace != "shop" {
			t.Errorf("%s: got %+v", kind, decoded)
		}
		typed := templates.OfTemplate(kind, &metav1.ObjectMeta{Name: "w", Namespace: "shop"}, &corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"of": "pod"}}, Spec: corev1.PodSpec{DeprecatedServiceAccount: "runner"},
		})
		if !reflect.DeepEqual(decoded, typed) {
			t.Errorf("%s: from JSON\n%+v\nfrom the typed object\n%+v", kind, decoded, typed)
		}
	}
}

func TestATemplateIsNotWrittenTo(t *testing.T) {
	template := &corev1.PodTemplateSpec{}
	pod := BuiltinTemplates().OfTemplate(schema.GroupKind{Group: "apps", Kind: "Deployment"}, &metav1.ObjectMeta{Namespace: "shop"}, template)
	if pod.Spec.ServiceAccountName != "default" || template.Spec.ServiceAccountName != "" || template.Namespace != "" {
		t.Errorf("got %+v of %+v", pod.Spec, template)
	}
	if pod := BuiltinTemplates().OfTemplate(schema.GroupKind{Kind: "Service"}, &metav1.ObjectMeta{}, template); pod != nil {
		t.Errorf("a Service stands for %+v", pod)
	}
}

func TestParseResource(t *testing.T) {
	tests := []struct{ name, text, wantErr string }{
		{name: "a resource and its path", text: rollouts},
		{name: "a path of one field", text: "example.test/v1/things=template"},
		{name: "no path", text: "example.test/v1/things", wantErr: `"" is no path of fields`},
		{name: "an empty path", text: "example.test/v1/things=", wantErr: `"" is no path of fields`},
		{name: "a path with an empty step", text: "example.test/v1/things=spec..template", wantErr: "is no path of fields"},
		{name: "a path that ends with a dot", text: "example.test/v1/things=spec.", wantErr: "is no path of fields"},
		{name: "a path through a list", text: "example.test/v1/things=spec.list[0]", wantErr: "is no path of fields"},
		{name: "no version", text: "example.test/things=spec", wantErr: "want GROUP/VERSION/RESOURCE=PATH"},
		{name: "no group", text: "/v1/things=spec", wantErr: "want GROUP/VERSION/RESOURCE=PATH"},
		{name: "a kind in the place of the resource", text: "example.test/v1/Thing=spec", wantErr: `"Thing" is no resource: resources are plural and in lower case`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resource, path, err := ParseResource(tt.text)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("got %v, want %s", err, tt.wantErr)
				}
				return
			}
			if back := resource.Group + "/" + resource.Version + "/" + resource.Resource + "=" + path; err != nil || back != tt.text {
				t.Errorf("got %s, %v", back, err)
			}
		})
	}
}

func TestAResourceIsAddedOnce(t *testing.T) {
	before := BuiltinTemplates()
	rollout := schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"}
	after, err := before.With(rollout, "spec.template")
	if err != nil || !slices.Equal(after.Resources(), []schema.GroupVersionResource{rollout}) {
		t.Fatalf("got %v, %v", after.Resources(), err)
	}
	if len(before.Resources()) != 0 {
		t.Error("those that it was added to have it, too")
	}
	if _, err := after.With(rollout, "spec.other"); err == nil || err.Error() != "it is given twice, with spec.template and spec.other" {
		t.Errorf("got %v", err)
	}
	other := schema.GroupVersionResource{Group: "example.test", Version: "v1", Resource: "things"}
	if both, err := after.With(other, "template"); err != nil || len(both.Resources()) != 2 || len(after.Resources()) != 1 {
		t.Errorf("got %v from %v, %v", both.Resources(), after.Resources(), err)
	}
	deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	if _, err := after.With(deployments, "spec.other"); err == nil || err.Error() != "deployments is judged already: its pod template is at spec.template" {
		t.Errorf("got %v", err)
	}
}

func TestHas(t *testing.T) {
	tests := []struct {
		name, group, version, kind string
		want                       bool
	}{
		{name: "a Pod", version: "v1", kind: "Pod", want: true},
		{name: "a Deployment", group: "apps", version: "v1", kind: "Deployment", want: true},
		{name: "a Deployment of another version", group: "apps", version: "v2", kind: "Deployment", want: true},
		{name: "a kind whose resource was added", group: "argoproj.io", version: "v1alpha1", kind: "Rollout", want: true},
		{name: "the same kind of another version", group: "argoproj.io", version: "v2", kind: "Rollout"},
		{name: "a Pod of another group", group: "example.test", version: "v1", kind: "Pod"},
		{name: "a Service", version: "v1", kind: "Service"},
	}
	templates := withRollouts(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := templates.Has(schema.GroupVersionKind{Group: tt.group, Version: tt.version, Kind: tt.kind}); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestFromResourceGoesByTheResourceWhereTheKindDoesNotTell(t *testing.T) {
	resource := schema.GroupVersionResource{Group: "example.test", Version: "v1", Resource: "oxen"}
	templates, err := BuiltinTemplates().With(resource, "template")
	if err != nil {
		t.Fatal(err)
	}
	object := []byte(`{"apiVersion":"example.test/v1","kind":"Ox","template":{"spec":{}}}`)
	if pod, err := templates.FromResource(resource, object); err != nil || pod.Prefix != "template." {
		t.Errorf("got %+v, %v", pod, err)
	}
	if _, err := templates.FromJSON(object); err == nil {
		t.Error("the plural of Ox was guessed")
	}
}

func TestWhatAControllerWithATemplateMadeIsControlled(t *testing.T) {
	tests := []struct {
		name, owner string
		want        bool
	}{
		{name: "by a Deployment", owner: `{"apiVersion":"apps/v1","kind":"Deployment","name":"w","uid":"1","controller":true}`, want: true},
		{name: "by a kind whose resource was added", owner: `{"apiVersion":"argoproj.io/v1alpha1","kind":"Rollout","name":"w","uid":"1","controller":true}`, want: true},
		{name: "an owner that is no controller", owner: `{"apiVersion":"apps/v1","kind":"Deployment","name":"w","uid":"1"}`},
		{name: "a controller without a template", owner: `{"apiVersion":"example.test/v1","kind":"Thing","name":"w","uid":"1","controller":true}`},
		{name: "a namesake in another group", owner: `{"apiVersion":"example.test/v1","kind":"Deployment","name":"w","uid":"1","controller":true}`},
		{name: "no owner"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			object := `{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"ownerReferences":[` + tt.owner + `]},"spec":{"template":{"spec":{}}}}`
			pod, err := withRollouts(t).FromJSON([]byte(object))
			if err != nil || pod.Controlled != tt.want {
				t.Errorf("got %+v, %v", pod, err)
			}
		})
	}
}

func TestAWorkloadThatIsBeingDeletedHasAPodThatIs(t *testing.T) {
	pod, err := BuiltinTemplates().FromJSON([]byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"deletionTimestamp":"2027-03-31T00:00:00Z"},"spec":{"template":{"spec":{}}}}`))
	if err != nil || pod.DeletionTimestamp == nil {
		t.Errorf("got %+v, %v", pod, err)
	}
}

func TestUnstructuredHasFieldsThatOurTypesDoNot(t *testing.T) {
	spec := map[string]any{"serviceAccount": "runner", "fieldOfTheFuture": map[string]any{"a": int64(1)}}
	metadata := map[string]any{"labels": map[string]any{"of": "pod"}}
	tests := []struct {
		name   string
		object map[string]any
	}{
		{name: "of a Pod", object: map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}},
		{name: "of a Deployment", object: objectOf("apps/v1", "Deployment", "spec.template", map[string]any{"metadata": metadata, "spec": spec})},
		{name: "of a CronJob", object: objectOf("batch/v1", "CronJob", "spec.jobTemplate.spec.template", map[string]any{"metadata": metadata, "spec": spec})},
		{name: "of a resource that was added", object: objectOf("argoproj.io/v1alpha1", "Rollout", "spec.template", map[string]any{"metadata": metadata, "spec": spec})},
	}
	want := map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"namespace": "shop", "labels": map[string]any{"of": "pod"}},
		"spec":     map[string]any{"serviceAccount": "runner", "serviceAccountName": "runner", "fieldOfTheFuture": map[string]any{"a": int64(1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, err := json.Marshal(tt.object)
			if err != nil {
				t.Fatal(err)
			}
			pod, err := withRollouts(t).FromJSON(before)
			if err != nil {
				t.Fatal(err)
			}
			if got := pod.Unstructured(tt.object, "shop"); !reflect.DeepEqual(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if after, _ := json.Marshal(tt.object); string(after) != string(before) {
				t.Errorf("the object was written to: %s", after)
			}
		})
	}
}
