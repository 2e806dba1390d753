package survey

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/listing"
)

// siblings remembers the results of pods without a finding, so that pods which one
// controller made from one template are judged once. It is good for as long as the
// facts are, and only where no policy looks at more of a pod than its labels,
// annotations and spec.
type siblings struct {
	seed maphash.Seed
	good map[likeness]evaluate.Result
	text []byte // of the last spec; used again
}

// likeness is equal for siblings. A pod can name the controller of another
// namespace's pods as its own.
type likeness struct {
	namespace  string
	controller types.UID
	hash       uint64
}

func newSiblings() *siblings {
	return &siblings{seed: maphash.MakeSeed(), good: map[likeness]evaluate.Result{}}
}

// likeness returns what a pod has in common with its siblings; false for a pod that
// has none.
func (s *siblings) likeness(o *listing.Item) (likeness, bool) {
	controller := o.Controller()
	if controller == nil || !o.IsPod() || evaluate.PassedBy(o.Pod) != "" {
		return likeness{}, false
	}
	spec := withoutChance(&o.Pod.Spec)
	size := spec.Size()
	s.text = slices.Grow(s.text[:0], size)[:size]
	if _, err := spec.MarshalToSizedBuffer(s.text); err != nil {
		return likeness{}, false
	}
	var h maphash.Hash
	h.SetSeed(s.seed)
	_, _ = h.Write(s.text)
	for _, set := range []map[string]string{o.Pod.Labels, o.Pod.Annotations} {
		for _, key := range slices.Sorted(maps.Keys(set)) {
			_, _ = h.WriteString(key)
			_ = h.WriteByte(0)
			_, _ = h.WriteString(set[key])
			_ = h.WriteByte(0)
		}
		_ = h.WriteByte(1)
	}
	return likeness{o.Namespace, controller.UID, h.Sum64()}, true
}

// tokenVolume is how the names of the volumes begin that the API server adds; the
// rest is chance (k8s.io/kubernetes, plugin/pkg/admission/serviceaccount).
const tokenVolume = "kube-api-access-"

// withoutChance returns a spec without that in which siblings differ, and which no
// check looks at: the node, and the name of the token volume.
func withoutChance(spec *corev1.PodSpec) *corev1.PodSpec {
	out := *spec
	out.NodeName = ""
	added := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, tokenVolume) })
	if added < 0 {
		return &out
	}
	name := spec.Volumes[added].Name
	out.Volumes = slices.Clone(spec.Volumes)
	out.Volumes[added].Name = tokenVolume
	for _, containers := range []*[]corev1.Container{&out.InitContainers, &out.Containers} {
		*containers = slices.Clone(*containers)
		for i := range *containers {
			c := &(*containers)[i]
			at := slices.IndexFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == name })
			if at >= 0 {
				c.VolumeMounts = slices.Clone(c.VolumeMounts)
				c.VolumeMounts[at].Name = tokenVolume
			}
		}
	}
	return &out
}
