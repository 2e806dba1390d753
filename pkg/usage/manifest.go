package usage

import (
	"encoding/json"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/workload"
)

// AddManifest adds the object of a manifest, if it stands for a pod.
func (u *Users) AddManifest(templates workload.Templates, manifest []byte) {
	var meta metav1.PartialObjectMetadata
	if json.Unmarshal(manifest, &meta) != nil || !templates.Has(meta.GroupVersionKind()) {
		return
	}
	pod, err := templates.FromJSON(manifest)
	if err != nil {
		u.Unread = append(u.Unread, meta.Kind+" "+meta.Name+": it can't be read")
		return
	}
	if meta.Namespace == "" {
		meta.Namespace = metav1.NamespaceDefault
	}
	object := workload.Object{
		Kind: meta.GroupVersionKind(), Namespace: meta.Namespace, Name: meta.Name, Pod: pod, Idle: isIdle(meta.Kind, manifest),
		Whole: func() map[string]any {
			var whole map[string]any
			_ = json.Unmarshal(manifest, &whole) // it was read before
			return whole
		},
	}
	u.Add(NewUser(&object, &meta), reference.OfPod(pod.Prefix, &pod.Spec))
}

func isIdle(kind string, manifest []byte) bool {
	object := map[string]runtime.Object{"ReplicaSet": &appsv1.ReplicaSet{}, "Job": &batchv1.Job{}}[kind]
	return object != nil && json.Unmarshal(manifest, object) == nil && workload.IsIdle(object)
}
