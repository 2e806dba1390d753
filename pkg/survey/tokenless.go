package survey

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
)

// tokenless finds pods that should have a token volume and do not: the plugin
// that adds it was off when they were made.
type tokenless struct {
	listing   *listing.Listing
	workloads map[report.Ref]bool
	pods, of  int
}

func newTokenless(l *listing.Listing) *tokenless {
	return &tokenless{listing: l, workloads: map[report.Ref]bool{}}
}

func (t *tokenless) visit(o *listing.Item, top report.Ref) {
	if !t.wants(o) {
		return
	}
	t.of++
	if hasToken(&o.Pod.Spec) {
		return
	}
	t.pods++
	t.workloads[top] = true
}

// wants reports whether the plugin would have given the pod its token: the pod's
// own field counts before its account's.
func (t *tokenless) wants(o *listing.Item) bool {
	if mount := o.Pod.Spec.AutomountServiceAccountToken; mount != nil {
		return *mount
	}
	f, _ := t.listing.Lookup(&facts.Query{
		Object: facts.Object{Kind: reference.ServiceAccount, Namespace: o.Namespace, Name: o.Pod.Spec.ServiceAccountName}, Contents: true,
	}, time.Time{})
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

// report returns what was found; nil if no pod lacks its volume.
func (t *tokenless) report() *report.Tokenless {
	if t.pods == 0 {
		return nil
	}
	out := &report.Tokenless{Pods: t.pods, Of: t.of, Workloads: sortedRefs(t.workloads), PluginOff: 2*t.pods > t.of}
	if out.PluginOff {
		out.Message = fmt.Sprintf("%d of %d pods that should have a token volume have none: the ServiceAccount admission plugin seems to be off. "+
			"Look for ServiceAccount in --disable-admission-plugins of kube-apiserver; then make the pods anew.", t.pods, t.of)
	} else {
		out.Message = fmt.Sprintf("%d of %d pods that should have a token volume have none: they were made while the ServiceAccount admission plugin was off, "+
			"or their account said automountServiceAccountToken: false. Make them anew.", t.pods, t.of)
	}
	return out
}
