package audit

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// siblings remembers what became of pods without a finding, so that pods which
// one controller made from one template are judged once. It is good for as long
// as the facts are, and only where no policy looks at more of a pod than its
// labels and its spec.
type siblings struct {
	seed maphash.Seed
	good map[sibling]Result
	text []byte // of the last spec; used again
}

type sibling struct {
	controller string
	looks      uint64
}

func newSiblings() *siblings {
	return &siblings{seed: maphash.MakeSeed(), good: map[sibling]Result{}}
}

// of returns by what a pod is known; false for one that has no siblings.
func (s *siblings) of(o *listed) (sibling, bool) {
	controller := controllerOf(o.meta)
	if controller == nil || o.Pod.Template || passes(o.Pod) != "" {
		return sibling{}, false
	}
	spec := alike(&o.Pod.Spec)
	size := spec.Size()
	s.text = slices.Grow(s.text[:0], size)[:size]
	if _, err := spec.MarshalToSizedBuffer(s.text); err != nil {
		return sibling{}, false
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
	return sibling{string(controller.UID), h.Sum64()}, true
}

// tokenVolume is how the names of the volumes begin that the API server adds; the
// rest is chance (k8s.io/kubernetes, plugin/pkg/admission/serviceaccount).
const tokenVolume = "kube-api-access-"

// alike returns a spec without what tells pods from their siblings, which no
// check looks at: the node, and the name of the token volume.
func alike(spec *corev1.PodSpec) *corev1.PodSpec {
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
