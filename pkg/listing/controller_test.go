package listing

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/workload"
)

func TestAnOwnerIsBelievedOnlyIfItMayExist(t *testing.T) {
	tests := []struct {
		name, apiVersion, kind, object, uid string

		mayExist   bool
		controller string
		reads      int
	}{
		{"one that exists, and its controller", "apps/v1", "ReplicaSet", "web", "u-1", true, "top", 1},
		{"one with another uid", "apps/v1", "ReplicaSet", "web", "u-2", false, "top", 1},
		{"one that does not exist", "apps/v1", "ReplicaSet", "gone", "u-1", false, "", 1},
		{"one of a kind that may not be read", "argoproj.io/v1", "Rollout", "web", "u-1", true, "", 2},
		{"one of a kind that is not served, which may not be read either", "argoproj.io/v1", "Forged", "web", "u-1", false, "", 2},
		{"one of a subresource's kind", "argoproj.io/v1", "Scale", "web", "u-1", false, "", 2},
		{"one of a group that is not served", "forged.example/v1", "Deployment", "web", "u-1", false, "", 2},
		{"a name that leads elsewhere", "apps/v1", "ReplicaSet", "../../secrets/web", "u-1", false, "", 0},
		{"a kind that leads elsewhere", "apps/v1", "../secrets/x", "web", "u-1", false, "", 0},
		{"a version that leads elsewhere", "apps/..", "ReplicaSet", "web", "u-1", false, "", 0},
		{"a name that is too long", "apps/v1", "ReplicaSet", strings.Repeat("a", 254), "u-1", false, "", 0},
		{"a uid that is none", "apps/v1", "ReplicaSet", "web", "not a uid!", false, "", 0},
		{"an empty uid", "apps/v1", "ReplicaSet", "web", "", false, "", 0},
		{"one in a place that errs", "apps/v1", "Broken", "web", "u-1", true, "", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reads := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				reads++
				answerForOwners(t, w, r.URL.Path)
			}))
			defer server.Close()
			client, err := cluster.NewClient(&rest.Config{Host: server.URL}, cluster.Reducer{})
			if err != nil {
				t.Fatal(err)
			}
			owner := &metav1.OwnerReference{APIVersion: tt.apiVersion, Kind: tt.kind, Name: tt.object, UID: types.UID(tt.uid)}
			controller, mayExist := NewLister(client, workload.Templates{}).Controller(t.Context(), "shop", owner)
			name := ""
			if controller != nil {
				name = controller.Name
			}
			if mayExist != tt.mayExist || name != tt.controller || reads != tt.reads {
				t.Errorf("got controller %q, may exist %t, %d reads", name, mayExist, reads)
			}
		})
	}
}

func answerForOwners(t *testing.T, w http.ResponseWriter, path string) {
	yes, answer := true, any(nil)
	refuse := func(err *apierrors.StatusError) {
		status := err.Status()
		status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
		w.WriteHeader(int(status.Code))
		answer = status
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case path == "/apis/apps/v1/namespaces/shop/replicasets/web":
		answer = &metav1.PartialObjectMetadata{
			TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
			ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "u-1", OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "apps/v1", Kind: "Deployment", Name: "top", UID: "t", Controller: &yes},
			}},
		}
	case path == "/apis/apps/v1/namespaces/shop/replicasets/gone":
		refuse(apierrors.NewNotFound(schema.GroupResource{Group: "apps", Resource: "replicasets"}, "gone"))
	case path == "/apis/apps/v1/namespaces/shop/brokens/web":
		refuse(apierrors.NewBadRequest("broken"))
	case strings.Contains(path, "/namespaces/shop/"):
		refuse(apierrors.NewForbidden(schema.GroupResource{Resource: "x"}, "web", nil))
	case path == "/apis/argoproj.io/v1":
		answer = &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"}, APIResources: []metav1.APIResource{
			{Name: "rollouts", Kind: "Rollout", Namespaced: true}, {Name: "rollouts/scale", Kind: "Scale", Namespaced: true},
		}}
	default:
		http.NotFound(w, &http.Request{})
		return
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		t.Error(err)
	}
}
