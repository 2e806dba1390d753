package policy

import (
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/workload"
)

// automounts tells whether the API server will give the pods of a template the
// token volume: Unknown where the account can't be read. Pods that it was asked
// to take have it already.
func (in *Input) automounts(pod *workload.Pod) facts.State {
	if !pod.AsWritten() {
		return facts.Absent
	}
	if mount := pod.Spec.AutomountServiceAccountToken; mount != nil {
		return yes(*mount)
	}
	account := in.Facts.Get(accountObject(in.Namespace, pod.Spec.ServiceAccountName))
	if !account.Known() {
		return facts.Unknown
	}
	return yes(account.Account == nil || account.Account.Automount == nil || *account.Account.Automount)
}

func yes(b bool) facts.State {
	if b {
		return facts.Present
	}
	return facts.Absent
}

func (in *Input) ownAccount() facts.Object {
	return accountObject(in.Namespace, in.Pod.Spec.ServiceAccountName)
}

// asksAutomount asks for the account where it decides on the token volume.
func (in *Input) asksAutomount(ask func(facts.Query)) {
	if in.Pod.AsWritten() && in.Pod.Spec.AutomountServiceAccountToken == nil {
		ask(facts.Query{Object: in.ownAccount(), Contents: true})
	}
}

// givesToken reports whether a volume holds a projected token of the pod's own
// account. Only its source tells: anybody can use any name.
func givesToken(v *corev1.Volume) bool {
	return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
		return s.ServiceAccountToken != nil
	})
}

// tokenContainer is a container that is to have the token file.
type tokenContainer struct {
	list   string
	index  int
	mounts []corev1.VolumeMount
}

// path is where its mounts are.
func (c *tokenContainer) path(pod *workload.Pod) string {
	return pod.Prefix + "spec." + c.list + "[" + strconv.Itoa(c.index) + "].volumeMounts"
}

func tokenContainers(pod *workload.Pod) []tokenContainer {
	out := make([]tokenContainer, 0, len(pod.Spec.InitContainers)+len(pod.Spec.Containers))
	for i := range pod.Spec.InitContainers {
		out = append(out, tokenContainer{"initContainers", i, pod.Spec.InitContainers[i].VolumeMounts})
	}
	for i := range pod.Spec.Containers {
		out = append(out, tokenContainer{"containers", i, pod.Spec.Containers[i].VolumeMounts})
	}
	return out
}

// podVolumes are the volumes of a pod by name.
type podVolumes map[string]*corev1.Volume

func volumesOf(pod *workload.Pod) podVolumes {
	out := make(podVolumes, len(pod.Spec.Volumes))
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; out[v.Name] == nil {
			out[v.Name] = v
		}
	}
	return out
}

// hasTokenFile tells whether a container finds the token where client libraries
// look for it. What a mount of a directory above holds nobody can tell.
func (in *Input) hasTokenFile(pod *workload.Pod, volumes podVolumes, c *tokenContainer) facts.State {
	above := false
	for i := range c.mounts {
		m := &c.mounts[i]
		at := path.Clean(m.MountPath)
		if rest, ok := strings.CutPrefix(at, "/run/"); ok {
			at = "/var/run/" + rest // the same place on most images
		}
		switch {
		case at == reference.AccountDirectory:
			return yes(providesToken(volumes[m.Name], m.SubPath))
		case at == reference.AccountDirectory+"/"+tokenKey:
			v := volumes[m.Name]
			return yes(v != nil && (providesToken(v, "") || m.SubPath != ""))
		case isAbove(at, reference.AccountDirectory):
			above = true
		}
	}
	if state := in.automounts(pod); state != facts.Absent || !above {
		return state
	}
	return facts.Unknown
}

func isAbove(directory, of string) bool {
	return strings.HasPrefix(of, strings.TrimSuffix(directory, "/")+"/")
}

// providesToken reports whether a volume has a file "token" at its root.
func providesToken(v *corev1.Volume, subPath string) bool {
	switch {
	case v == nil:
		return false
	case subPath != "":
		return true // a directory within it: nobody can tell from outside
	case v.Secret != nil:
		return hasPath(v.Secret.Items)
	case v.Projected != nil:
		return slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
			return (s.ServiceAccountToken != nil && s.ServiceAccountToken.Path == tokenKey) || (s.Secret != nil && hasPath(s.Secret.Items))
		})
	}
	return v.CSI != nil || v.HostPath != nil || v.PersistentVolumeClaim != nil || v.EmptyDir != nil
}

// hasPath reports whether a Secret's items put something at "token"; without
// items its key of that name is there.
func hasPath(items []corev1.KeyToPath) bool {
	return len(items) == 0 || slices.ContainsFunc(items, func(i corev1.KeyToPath) bool { return i.Path == tokenKey })
}
