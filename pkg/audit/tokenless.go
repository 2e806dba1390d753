package audit

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
)

// tokenless finds pods that should have a token volume and do not: the plugin
// that adds it was off when they were made.
type tokenless struct {
	survey    *survey
	workloads []Ref
	pods, of  int
}

func (t *tokenless) visit(top Ref, o *listed) {
	if !t.wants(o) {
		return
	}
	t.of++
	if hasToken(&o.Pod.Spec) {
		return
	}
	t.pods++
	if !slices.Contains(t.workloads, top) {
		t.workloads = append(t.workloads, top)
	}
}

// wants reports whether the plugin would have given the pod its token: the pod's
// own word counts before its account's.
func (t *tokenless) wants(o *listed) bool {
	if mount := o.Pod.Spec.AutomountServiceAccountToken; mount != nil {
		return *mount
	}
	f, _ := t.survey.held.answer(&facts.Query{
		Object: facts.Object{Kind: reference.ServiceAccount, Namespace: o.Namespace, Name: o.Pod.Spec.ServiceAccountName}, Inside: true,
	})
	return f.State == facts.Present && (f.Account == nil || f.Account.Automount == nil || *f.Account.Automount)
}

// hasToken reports whether the pod has a token volume, or mounts something of
// its own where the plugin would have mounted one, which makes it stand back.
func hasToken(spec *corev1.PodSpec) bool {
	if slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return projectsToken(&v) }) {
		return true
	}
	has := false
	reference.EachContainer(spec, func(_ string, c *corev1.Container) {
		has = has || slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == reference.AccountDirectory })
	})
	return has
}

func (t *tokenless) tell() {
	if t.pods == 0 {
		return
	}
	out := &report.Tokenless{Pods: t.pods, Of: t.of, Workloads: t.workloads, PluginOff: 2*t.pods > t.of}
	slices.SortFunc(out.Workloads, func(a, b Ref) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	if out.PluginOff {
		out.Message = fmt.Sprintf("%d of %d pods that should have a token volume have none: the ServiceAccount admission plugin seems to be off. "+
			"Look for ServiceAccount in --disable-admission-plugins of kube-apiserver; then make the pods anew.", t.pods, t.of)
	} else {
		out.Message = fmt.Sprintf("%d of %d pods that should have a token volume have none: they were made while the ServiceAccount admission plugin was off, "+
			"or their account said automountServiceAccountToken: false. Make them anew.", t.pods, t.of)
	}
	t.survey.out.Tokenless = out
}
