package rollup

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/workload"
)

func controllerRef(kind, name, uid string) *metav1.OwnerReference {
	yes := true
	return &metav1.OwnerReference{APIVersion: "apps/v1", Kind: kind, Name: name, UID: types.UID(uid), Controller: &yes}
}

func listed(namespace, kind, name, uid string, controller *metav1.OwnerReference) *listing.Item {
	m := &metav1.ObjectMeta{UID: types.UID(uid)}
	if controller != nil {
		m.OwnerReferences = []metav1.OwnerReference{*controller}
	}
	return &listing.Item{Meta: m, Object: workload.Object{Kind: schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: kind}, Namespace: namespace, Name: name}}
}

func TestTopOfAChainOfOwners(t *testing.T) {
	o := NewOwners(func(_ context.Context, _ string, owner *metav1.OwnerReference) (*metav1.OwnerReference, bool) {
		switch owner.Name {
		case "late": // it was made after its kind was listed
			return controllerRef("Deployment", "web", "deployment"), owner.UID == "late"
		case "custom": // it may not be read
			return nil, true
		}
		return nil, false
	})
	o.Add(listed("shop", "ReplicaSet", "web-1", "set", controllerRef("Deployment", "web", "deployment")))
	o.Add(listed("shop", "Deployment", "web", "deployment", nil))
	o.Add(listed("shop", "C", "c", "circle", controllerRef("C", "c", "circle")))
	o.Add(listed("shop", "ReplicaSet", "orphan-1", "orphan", controllerRef("Deployment", "web", "forged")))
	o.Add(listed("bank", "Deployment", "vault", "vault", nil))
	tests := []struct {
		name             string
		kind, owner, uid string
		want             string
	}{
		{"a pod of a ReplicaSet of a Deployment", "ReplicaSet", "web-1", "set", "deployment"},
		{"a pod of a Deployment's own", "Deployment", "web", "deployment", "deployment"},
		{"a pod of a ReplicaSet that no list brought", "ReplicaSet", "late", "late", "deployment"},
		{"a pod of an owner that may not be read", "Rollout", "custom", "custom", "custom"},
		{"a circle ends", "C", "c", "circle", "circle"},
		{"an owner that does not exist", "Deployment", "nobody", "nobody", "pod"},
		{"an owner that exists with another uid", "Deployment", "web", "forged", "pod"},
		{"the uid of an owner under another name", "Deployment", "other", "deployment", "pod"},
		{"the uid of an owner as another kind, which may not be read", "Rollout", "custom", "deployment", "pod"},
		{"an owner in another namespace", "Deployment", "vault", "vault", "pod"},
		{"an owner that names one which does not exist", "ReplicaSet", "orphan-1", "orphan", "orphan"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := o.Top(t.Context(), report.Ref{Kind: "Pod", Namespace: "shop", UID: "pod"}, controllerRef(tt.kind, tt.owner, tt.uid))
			if got.UID != tt.want || got.Namespace != "shop" {
				t.Errorf("got %+v, want %s", got, tt.want)
			}
		})
	}
}

func TestOwnersThatAreReadAreBoundedForEachNamespace(t *testing.T) {
	reads := map[string]int{}
	o := NewOwners(func(_ context.Context, namespace string, _ *metav1.OwnerReference) (*metav1.OwnerReference, bool) {
		reads[namespace]++
		return nil, false
	})
	for i := range 10 * maxOwnerReads {
		o.Top(t.Context(), report.Ref{Namespace: "flood", UID: "p"}, controllerRef("K", fmt.Sprint(i), fmt.Sprint(i)))
	}
	got := o.Top(t.Context(), report.Ref{Namespace: "shop", UID: "p"}, controllerRef("K", "k", "k"))
	if reads["flood"] != maxOwnerReads || reads["shop"] != 1 || got.UID != "p" {
		t.Errorf("reads: %v, top %+v", reads, got)
	}
	if o.Unread("flood") != 9*maxOwnerReads || o.Unread("shop") != 0 {
		t.Errorf("unread: %d and %d", o.Unread("flood"), o.Unread("shop"))
	}
}
