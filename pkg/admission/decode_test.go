package admission

import (
	"encoding/json"
	"reflect"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"tokenward.dev/tokenward/pkg/cases"
)

// Every case about a Pod gives the same verdict whether its pod is decoded
// whole, or as the webhook decodes it.
func TestDecodingLosesNothing(t *testing.T) {
	all, err := cases.Load("../../test/cases")
	if err != nil {
		t.Fatal(err)
	}
	pods := 0
	for _, c := range all {
		request := c.File.Request
		var kind metav1.TypeMeta
		if len(request.Object) == 0 || json.Unmarshal(request.Object, &kind) != nil || kind.Kind != "Pod" {
			continue
		}
		pods++
		body, err := json.Marshal(&admissionv1.AdmissionReview{
			TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
			Request: &admissionv1.AdmissionRequest{
				UID: "u", Name: "app", Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
				Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"}, Namespace: request.Namespace,
				Operation: request.Operation, SubResource: request.SubResource, UserInfo: request.UserInfo, DryRun: &request.DryRun,
				Object: runtime.RawExtension{Raw: request.Object}, OldObject: runtime.RawExtension{Raw: request.OldObject},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := Pods(body)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		want, got := c.VerdictOn(c.Review()), c.VerdictOn(&decoded.review)
		if !reflect.DeepEqual(want, got) {
			t.Errorf("%s:\nwhole       %+v\nas decoded  %+v", c.Name, want, got)
		}
		if decoded, err = ownedPods(body); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if want, got := c.MutationOf(c.Review()), c.MutationOf(&decoded.review); !reflect.DeepEqual(want, got) {
			t.Errorf("%s: mutation\nwhole       %+v\nas decoded  %+v", c.Name, want, got)
		}
	}
	if pods < 150 {
		t.Errorf("only %d cases are about a Pod", pods)
	}
}
