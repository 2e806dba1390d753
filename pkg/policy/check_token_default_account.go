package policy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/workload"
)

func tokenDefaultAccount() Check {
	c := tokenCheck{id: "token-default-account", judge: func(in *Input, u tokenUse) *fault {
		if _, name := u.account(in); name != reference.DefaultAccount {
			return nil
		}
		return wrong(func(quote func(string) string) string {
			return "holds a token of the account " + quote(reference.DefaultAccount) + ", which all pods share. Give the pod an account of its own."
		})
	}}
	return Check{
		ID:      c.id,
		Title:   "a pod that holds a token of the account `default`",
		Default: v1alpha1.Audit,
		Impact:  Impact{Effect: BreaksNothing, Severity: Low, Category: Tokens, Waiting: WaitingIsVain},
		Problem: `A pod that names no account runs as ` + "`default`" + `, and gets its token unless somebody says otherwise. Whatever is granted
to that account every pod of the namespace may do.`,
		Remedy: `Give the pod an account of its own (` + "`serviceAccountName`" + `), or, if it makes no calls to the API server, no token:
` + "`automountServiceAccountToken: false`" + `.`,
		ReadsSecrets: true,
		Needs: func(in *Input, ask func(facts.Query)) {
			c.needs(in, ask)
			if in.Pod.Spec.ServiceAccountName == reference.DefaultAccount {
				in.asksAutomount(ask)
			}
		},
		Find: func(in *Input, report func(Finding)) {
			in.findDefaultToken(report)
			c.find(in, report)
		},
	}
}

// findDefaultToken reports the projected token of a pod that runs as default.
func (in *Input) findDefaultToken(report func(Finding)) {
	if in.Pod.Spec.ServiceAccountName != reference.DefaultAccount {
		return
	}
	has := in.projectsToken(&in.Pod)
	if has == facts.Absent || (in.Old != nil && in.Old.Spec.ServiceAccountName == reference.DefaultAccount && in.projectsToken(in.Old) == has) {
		return // an UPDATE did not change it
	}
	f := Finding{Path: in.Pod.Prefix + "spec.serviceAccountName", Object: in.ownAccount(), State: facts.Present, Echo: in.Pod.Template && !in.Pod.Written}
	if has == facts.Unknown {
		f.State = facts.Unknown
	}
	f.Message = message(func(quote func(string) string) string {
		if has == facts.Unknown {
			return "The pod runs as account " + quote(reference.DefaultAccount) + " (" + f.Path + "), of which could not be found out whether it mounts its token."
		}
		return "The pod holds a token of the account " + quote(reference.DefaultAccount) + " (" + f.Path + "), which every pod of the namespace shares. " +
			"Give it an account of its own, or set automountServiceAccountToken: false."
	})
	report(f)
}

// projectsToken tells whether a container of the pod mounts a projected token,
// or will once the API server has added it.
func (in *Input) projectsToken(pod *workload.Pod) facts.State {
	volumes := volumesOf(pod)
	for _, c := range tokenContainers(pod) {
		if slices.ContainsFunc(c.mounts, func(m corev1.VolumeMount) bool {
			v := volumes[m.Name]
			return v != nil && givesToken(v)
		}) {
			return facts.Present
		}
	}
	return in.automounts(pod)
}
