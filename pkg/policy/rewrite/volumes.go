package rewrite

import (
	"path"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/reference"
)

// projection is a volume of a token Secret made into a projected one.
type projection struct {
	source  *corev1.ProjectedVolumeSource
	seconds int64
}

// projectVolumes rewrites volumes of token Secrets of the pod's own account.
func (p *pass) projectVolumes() {
	if !slices.ContainsFunc(p.wants, func(m policy.Mutation) bool { return m.Volumes != nil }) {
		return
	}
	for i := range p.pod().Spec.Volumes {
		v := &p.pod().Spec.Volumes[i]
		switch {
		case v.Name == "": // the API server will refuse it, and knows better words
		case v.Secret != nil:
			p.projectVolume(i, v)
		case v.Projected != nil:
			p.reinvoked = p.reinvoked || p.plan.owned.secretVolume(v.Name)
		}
	}
	p.leaveOthers()
}

// projectVolume lets the first policy that wants a volume have it.
func (p *pass) projectVolume(i int, v *corev1.Volume) {
	c := Change{Change: ChangeVolumes, Path: at("spec.volumes", i), From: "Secret " + v.Secret.SecretName, To: "projected"}
	var holder *policy.Mutation
	for j := range p.wants {
		m := &p.wants[j]
		if m.Volumes == nil || m.Exempts(reference.Secret, v.Secret.SecretName) {
			continue
		}
		why, mine := p.judgeVolume(v, m.Volumes.Missing)
		switch {
		case p.open || !mine:
		case why != "":
			p.leaveVolume(c, m, v.Secret.SecretName, why)
			return
		case holder != nil && holder.Volumes.ExpirationSeconds != m.Volumes.ExpirationSeconds:
			p.conflict(c, m, holder)
		case holder != nil:
		case p.draft.projected[i] != nil && p.draft.projected[i].seconds == m.Volumes.ExpirationSeconds:
			holder = m
		default:
			holder = m
			p.draft.project(i, &projection{source: projected(v.Secret, m.Volumes.ExpirationSeconds), seconds: m.Volumes.ExpirationSeconds})
			p.change(c, m)
		}
	}
}

func (p *pass) leaveVolume(c Change, m *policy.Mutation, secret, why string) {
	p.leave(c, m, why, policy.Message(func(quote func(string) string) string {
		return "TokenPolicy " + quote(m.Policy) + " leaves Secret " + quote(secret) + " (" + c.Path + ") as it is: " + why + "."
	}))
}

// judgeVolume tells whether a volume is of a token Secret, and why it can't be
// rewritten; "" if it can.
func (p *pass) judgeVolume(v *corev1.Volume, missing bool) (why string, mine bool) {
	f := p.look(facts.Query{Object: facts.Object{Kind: reference.Secret, Namespace: p.namespace(), Name: v.Secret.SecretName}, Contents: true})
	switch {
	case p.open:
		return "", false
	case f.State == facts.Absent:
		if !missing || !p.namedAfterAccount(v.Secret.SecretName) || !p.atStandardPath(v.Name) {
			return "", false
		}
	case !f.Known() || f.Secret == nil || !f.Secret.TokenSecret:
		return "", false
	case !slices.Contains(p.ownAccounts(), f.Secret.Account):
		return "it holds a token of another account", true
	}
	s := v.Secret
	switch {
	case s.Optional != nil && *s.Optional:
		return "it is optional, which a projected token can't be", true
	case p.bySubPath(v.Name):
		return "a container mounts it by subPath, where a token is never renewed", true
	case slices.ContainsFunc(s.Items, func(i corev1.KeyToPath) bool { return i.Mode != nil }):
		return "an item has a mode of its own, which a projected token can't have", true
	case strings.HasPrefix(v.Name, pluginVolumePrefix) && !p.plan.owned.volume(v.Name):
		return "the volume is named like the API server's own token volume, and could not be told from it", true
	case pathTwice(s.Items):
		return "two items have the same path, which a projected volume can't have", true
	case len(s.Items) == 0 && f.Secret != nil && f.Secret.OtherKeys,
		slices.ContainsFunc(s.Items, func(i corev1.KeyToPath) bool { return !slices.Contains(files(), i.Key) }):
		return "it gives files beyond token, ca.crt and namespace", true
	}
	if len(s.Items) == 0 || slices.ContainsFunc(s.Items, func(i corev1.KeyToPath) bool { return i.Key == caFile }) {
		ca := p.look(facts.Query{Object: facts.Object{Kind: reference.ConfigMap, Namespace: p.namespace(), Name: reference.RootCA}})
		switch {
		case ca.State == facts.Absent:
			return "ConfigMap " + reference.RootCA + ", which it would need, does not exist", true
		case !ca.Known():
			return "ConfigMap " + reference.RootCA + ", which it would need, could not be looked up", true
		}
	}
	return "", true
}

// pathTwice reports whether two items go to one path. The API server takes that
// of a Secret, and not of a projected volume (pkg/apis/core/validation).
func pathTwice(items []corev1.KeyToPath) bool {
	seen := map[string]bool{}
	for i := range items {
		if seen[items[i].Path] {
			return true
		}
		seen[items[i].Path] = true
	}
	return false
}

func files() []string { return []string{tokenFile, caFile, namespaceFile} }

// ownAccounts are the account that the pod came with, and the one that it gets.
// A pod that names none came as default, be it invoked a second time.
func (p *pass) ownAccounts() []string {
	own := []string{p.pod().Spec.ServiceAccountName, p.draft.account}
	if p.clientSetNone() {
		own = append(own, reference.DefaultAccount)
	}
	return own
}

// generatedName is how the token controller named Secrets until Kubernetes 1.24
// (names.SimpleNameGenerator: five letters or digits).
var generatedName = regexp.MustCompile(`^[a-z0-9]{5}$`)

func (p *pass) namedAfterAccount(secret string) bool {
	return slices.ContainsFunc(p.ownAccounts(), func(account string) bool {
		rest, ok := strings.CutPrefix(secret, account+"-token-")
		return ok && generatedName.MatchString(rest)
	})
}

// atStandardPath reports whether a volume is mounted there, and nowhere else.
func (p *pass) atStandardPath(volume string) bool {
	mounts := p.plan.mountsOf(volume)
	elsewhere := func(m corev1.VolumeMount) bool { return path.Clean(m.MountPath) != reference.AccountDirectory }
	return len(mounts) > 0 && !slices.ContainsFunc(mounts, elsewhere)
}

func (p *pass) bySubPath(volume string) bool {
	return slices.ContainsFunc(p.plan.mountsOf(volume), func(m corev1.VolumeMount) bool { return m.SubPath != "" || m.SubPathExpr != "" })
}

// mountsOf returns the mounts of a volume. No change touches them.
func (p *Plan) mountsOf(volume string) []corev1.VolumeMount {
	if p.mounts == nil {
		p.mounts = map[string][]corev1.VolumeMount{}
		for _, c := range containersOf(p.review.Pod.Pod) {
			for i := range c.mounts {
				p.mounts[c.mounts[i].Name] = append(p.mounts[c.mounts[i].Name], c.mounts[i])
			}
		}
	}
	return p.mounts[volume]
}

// containerMounts are the mounts of one container, and where it stands.
type containerMounts struct {
	list   string
	index  int
	mounts []corev1.VolumeMount
}

func containersOf(pod *corev1.Pod) []containerMounts {
	var out []containerMounts
	for i := range pod.Spec.InitContainers {
		out = append(out, containerMounts{"initContainers", i, pod.Spec.InitContainers[i].VolumeMounts})
	}
	for i := range pod.Spec.Containers {
		out = append(out, containerMounts{"containers", i, pod.Spec.Containers[i].VolumeMounts})
	}
	for i := range pod.Spec.EphemeralContainers {
		out = append(out, containerMounts{"ephemeralContainers", i, pod.Spec.EphemeralContainers[i].VolumeMounts})
	}
	return out
}

// leaveOthers reports the routes by which a pod uses a token Secret that are not
// volumes of it: variables, and sources of projected volumes.
func (p *pass) leaveOthers() {
	refs := reference.OfPod("", &p.pod().Spec)
	for i := range refs {
		r := &refs[i]
		why := ""
		switch {
		case r.Kind != reference.Secret || r.Nameless():
			continue
		case r.Use == reference.UseEnv || r.Use == reference.UseEnvFrom:
			why = "a variable is not renewed when the token is; mount a projected token instead"
		case r.Use == reference.UseVolume && strings.Contains(r.Path, ".projected."):
			why = "it is a source of a projected volume; use serviceAccountToken there"
		default:
			continue
		}
		f := p.look(facts.Query{Object: facts.Object{Kind: reference.Secret, Namespace: p.namespace(), Name: r.Name}, Contents: true})
		if p.open || !f.Known() || f.Secret == nil || !f.Secret.TokenSecret {
			continue
		}
		for j := range p.wants {
			if p.wants[j].Volumes != nil && !p.wants[j].Exempts(reference.Secret, r.Name) {
				p.leaveVolume(Change{Change: ChangeVolumes, Path: r.Path, From: "Secret " + r.Name, To: "projected"}, &p.wants[j], r.Name, why)
				break
			}
		}
	}
}

// projected makes the volume that gives the same files at the same paths.
func projected(s *corev1.SecretVolumeSource, seconds int64) *corev1.ProjectedVolumeSource {
	items := s.Items
	if len(items) == 0 {
		for _, f := range files() {
			items = append(items, corev1.KeyToPath{Key: f, Path: f})
		}
	}
	out := &corev1.ProjectedVolumeSource{DefaultMode: s.DefaultMode}
	for _, item := range items {
		var source corev1.VolumeProjection
		switch item.Key {
		case tokenFile:
			source.ServiceAccountToken = &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &seconds, Path: item.Path}
		case caFile:
			source.ConfigMap = &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: reference.RootCA}, Items: []corev1.KeyToPath{{Key: caFile, Path: item.Path}},
			}
		case namespaceFile:
			source.DownwardAPI = &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path: item.Path, FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: namespaceField},
			}}}
		}
		out.Sources = append(out.Sources, source)
	}
	return out
}
