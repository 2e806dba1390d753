package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
)

func tokenRequired() Check {
	const id = "token-required"
	return Check{
		ID:      id,
		Title:   "a container without the token file, where the policy says it needs one",
		Default: v1alpha1.None,
		Impact:  Impact{Effect: BreaksNothing, Severity: Low, Category: Tokens, Waiting: WaitingIsVain},
		Problem: `Software such as a dashboard or an operator reads its token from
` + "`/var/run/secrets/kubernetes.io/serviceaccount/token`" + ` and fails without it. A pod has none if it, or its account, says
` + "`automountServiceAccountToken: false`" + `, if another volume is mounted in that place, or if the ServiceAccount admission plugin is
off. Turn the check on by a policy that selects the pods which need a token.`,
		Remedy: `Set ` + "`automountServiceAccountToken: true`" + ` on the pod, or mount a projected volume with ` + "`serviceAccountToken`" + ` there.`,
		Needs:  func(in *Input, ask func(facts.Query)) { in.asksAutomount(ask) },
		Find: func(in *Input, report func(Finding)) {
			if in.Old != nil && !in.Pod.Template {
				return // neither containers nor volumes of a pod can change
			}
			volumes, before := volumesOf(&in.Pod), in.hadTokenFiles()
			for _, c := range tokenContainers(&in.Pod) {
				state := in.hasTokenFile(&in.Pod, volumes, &c)
				at := c.path(&in.Pod)
				if was, known := before[at]; state == facts.Present || (known && was == state) {
					continue
				}
				report(Finding{Path: at, Object: in.ownAccount(), State: state, Message: message(func(quote func(string) string) string {
					if state == facts.Unknown {
						if in.automounts(&in.Pod) == facts.Absent {
							return "Whether the container (" + at + ") has a token is unknown: it mounts a directory above the place where it is looked for."
						}
						return "Whether the container (" + at + ") gets a token is unknown: account " + quote(in.Pod.Spec.ServiceAccountName) + " could not be read."
					}
					return "The container (" + at + ") gets no token of account " + quote(in.Pod.Spec.ServiceAccountName) +
						", which it needs. Set automountServiceAccountToken: true, or mount a projected token where it is looked for."
				})})
			}
		},
	}
}

// hadTokenFiles returns by the path of each container of the old template whether it
// had the token.
func (in *Input) hadTokenFiles() map[string]facts.State {
	if in.Old == nil {
		return nil
	}
	had, volumes := map[string]facts.State{}, volumesOf(in.Old)
	for _, c := range tokenContainers(in.Old) {
		had[c.path(in.Old)] = in.hasTokenFile(in.Old, volumes, &c)
	}
	return had
}
