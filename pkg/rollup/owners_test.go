package rollup

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/report"
)

func TestTopOfAChainOfOwners(t *testing.T) {
	yes := true
	set := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: "set", OwnerReferences: []metav1.OwnerReference{{Kind: "Deployment", Name: "web", UID: "deployment", Controller: &yes}}}}
	deployment := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: "deployment"}}
	circle := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: "circle", OwnerReferences: []metav1.OwnerReference{{Kind: "C", Name: "c", UID: "circle", Controller: &yes}}}}
	o := NewOwners(nil)
	o.Add(set)
	o.Add(deployment)
	o.Add(circle)
	tests := []struct {
		name, owner, want string
	}{
		{"a pod of a ReplicaSet of a Deployment", "set", "deployment"},
		{"a pod of a Deployment's own", "deployment", "deployment"},
		{"a circle ends", "circle", "circle"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := o.Top(t.Context(), report.Ref{Kind: "Pod", Namespace: "shop", UID: "pod"}, &metav1.OwnerReference{Kind: "K", Name: "k", UID: types.UID(tt.owner)})
			if got.UID != tt.want || got.Namespace != "shop" {
				t.Errorf("got %+v, want %s", got, tt.want)
			}
		})
	}
}
