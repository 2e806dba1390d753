package policy

import (
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/workload"
)

func tokenMounted() Check {
	const id = "token-mounted"
	return Check{
		ID:      id,
		Title:   "a pod that gets an API token, where the policy says it needs none",
		Default: v1alpha1.None,
		Impact:  Impact{Effect: BreaksNothing, Severity: Medium, Category: Tokens, Waiting: WaitingIsVain},
		Problem: `Most pods never call the API server, and get a token all the same: by automount, unless the pod or its account says
` + "`automountServiceAccountToken: false`" + `, or by a projected volume with ` + "`serviceAccountToken`" + ` that a container mounts. Whoever breaks
into such a pod may do what its account may. Turn the check on by a policy that selects the pods which need no token.

A projected token that names an audience is meant for another service. Whether the API server takes that audience, too, is
unknown. Tokens in Secrets are the matter of ` + "`token-long-lived`" + `.`,
		Remedy: `Set ` + "`automountServiceAccountToken: false`" + ` on the pod or on its account, and mount no projected token. A policy's
` + "`mutate.automountServiceAccountToken: false`" + ` does it for every pod.`,
		Needs: func(in *Input, ask func(facts.Query)) { in.asksAutomount(ask) },
		Find: func(in *Input, report func(Finding)) {
			in.findAutomount(report)
			in.findMountedTokens(report)
		},
	}
}

// findAutomount reports a pod that will get the token volume of the API server.
// A pod that the API server asks about has it already, as any other volume.
func (in *Input) findAutomount(report func(Finding)) {
	state := in.automounts(&in.Pod)
	if state == facts.Absent || !takesTokenVolume(&in.Pod) {
		return
	}
	if old := in.Old; old != nil && in.automounts(old) == state && takesTokenVolume(old) && old.Spec.ServiceAccountName == in.Pod.Spec.ServiceAccountName {
		return // an UPDATE did not change it
	}
	path := in.Pod.Prefix + "spec.automountServiceAccountToken"
	report(Finding{Path: path, Object: in.ownAccount(), State: state, Message: message(func(quote func(string) string) string {
		if state == facts.Unknown {
			return "Whether the pod gets a token is unknown (" + path + "): account " + quote(in.Pod.Spec.ServiceAccountName) + " could not be read."
		}
		return "The pod gets a token of account " + quote(in.Pod.Spec.ServiceAccountName) + " (" + path +
			"), which it does not need. Set automountServiceAccountToken: false."
	})})
}

// takesTokenVolume reports whether a container leaves room for the token volume:
// the API server adds no mount where there is one already
// (k8s.io/kubernetes, plugin/pkg/admission/serviceaccount).
func takesTokenVolume(pod *workload.Pod) bool {
	return slices.ContainsFunc(tokenContainers(pod), func(c tokenContainer) bool {
		return !slices.ContainsFunc(c.mounts, func(m corev1.VolumeMount) bool { return m.MountPath == reference.AccountDirectory })
	})
}

// findMountedTokens reports projected tokens that a container mounts.
func (in *Input) findMountedTokens(report func(Finding)) {
	mounted := mountedIn(&in.Pod)
	var before podVolumes // those that a container mounted
	if in.Old != nil {
		before = volumesOf(in.Old)
		was := mountedIn(in.Old)
		maps.DeleteFunc(before, func(name string, _ *corev1.Volume) bool { return !was[name] })
	}
	for i := range in.Pod.Spec.Volumes {
		v := &in.Pod.Spec.Volumes[i]
		at, audience := projectedToken(v)
		if at < 0 || !mounted[v.Name] {
			continue
		}
		if old := before[v.Name]; old != nil {
			if place, aud := projectedToken(old); place >= 0 && aud == audience {
				continue // an UPDATE did not change it
			}
		}
		state := facts.Present
		if audience != "" {
			state = facts.Unknown
		}
		path := in.Pod.Prefix + "spec.volumes[" + strconv.Itoa(i) + "].projected.sources[" + strconv.Itoa(at) + "].serviceAccountToken"
		report(Finding{Path: path, Object: in.ownAccount(), State: state, Message: message(func(quote func(string) string) string {
			account := "a token of account " + quote(in.Pod.Spec.ServiceAccountName)
			if state == facts.Unknown {
				return "The pod mounts " + account + " (" + path + ") for audience " + quote(audience) + ": whether the API server takes it is unknown."
			}
			return "The pod mounts " + account + " (" + path + "), which it does not need. Set automountServiceAccountToken: false, and mount no projected token."
		})})
	}
}

// projectedToken returns which source of a volume is a token, one without an
// audience first, and the audience; -1 if there is none.
func projectedToken(v *corev1.Volume) (source int, audience string) {
	source = -1
	if v.Projected == nil {
		return source, ""
	}
	for i := range v.Projected.Sources {
		token := v.Projected.Sources[i].ServiceAccountToken
		switch {
		case token == nil:
		case token.Audience == "":
			return i, ""
		case source < 0:
			source, audience = i, token.Audience
		}
	}
	return source, audience
}

// mountedIn returns the names of the volumes that a container mounts, ephemeral ones
// included.
func mountedIn(pod *workload.Pod) map[string]bool {
	out := map[string]bool{}
	reference.EachContainer(&pod.Spec, func(_ string, c *corev1.Container) {
		for i := range c.VolumeMounts {
			out[c.VolumeMounts[i].Name] = true
		}
	})
	return out
}
