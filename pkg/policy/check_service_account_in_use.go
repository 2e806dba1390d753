package policy

import (
	"slices"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

const accountInUseID = "service-account-in-use"

func serviceAccountInUse() Check {
	line := serviceAccountExists() // of templates
	return Check{
		ID:      accountInUseID,
		Title:   "workloads that break once a ServiceAccount is deleted",
		Subject: OfDeletions,
		Default: v1alpha1.Warn,
		Impact:  Impact{Effect: BreaksInUse, Severity: High, Category: Tokens, Waiting: WaitingIsVain},
		Problem: `With a ServiceAccount all its tokens die at once, those in running pods included, and its token Secrets are
deleted. The API server refuses every new pod that names it. An account that is made again under the same name has another uid:
it is good for new pods, and the tokens of running ones stay dead.

Each workload in the namespace that runs as the account, or mounts one of its token Secrets, is judged as if the account were
absent, by the policies that match its pods.`,
		Remedy: `Move the workloads to another account first. If the account was deleted: make it again, and restart its pods
(` + "`kubectl rollout restart`" + `). To delete it all the same, annotate it with ` + "`tokenward.dev/allow-deletion`" + ` and its uid: see
[Deletion guard](../deletion-guard.md).`,
		Needs: func(in *Input, ask func(facts.Query)) {
			line.Needs(in, ask)
			in.each(in.ofTokenSecret, func(r *reference.Reference) {
				ask(facts.Query{Object: in.object(r), Contents: true, Fresh: true})
			})
		},
		Find: func(in *Input, report func(Finding)) {
			if in.Pod.Template {
				line.Find(in, func(f Finding) { report(in.accountUse(f.Path)) })
			} else {
				in.each(func(r *reference.Reference) bool { return r.Kind == reference.ServiceAccount && r.Name == in.Gone.Name }, func(r *reference.Reference) {
					if in.holdsOwnToken() || in.Gone.Controlled {
						report(in.accountUse(r.Path))
					}
				})
			}
			in.each(in.ofTokenSecret, in.findTokenSecret(report))
		},
	}
}

// ofTokenSecret reports whether a reference hands out a Secret that seems to be a token
// Secret of the account.
func (in *Input) ofTokenSecret(r *reference.Reference) bool {
	return handsOut(r) && r.Required() && slices.Contains(in.Gone.TokenSecrets, r.Name)
}

// holdsOwnToken reports whether the pod runs with a projected token of its account.
func (in *Input) holdsOwnToken() bool {
	mounted := mountedIn(&in.Pod)
	for i := range in.Pod.Spec.Volumes {
		if v := &in.Pod.Spec.Volumes[i]; givesToken(v) && mounted[v.Name] {
			return true
		}
	}
	return false
}

// accountUse is the finding about a pod or a template that runs as the account.
func (in *Input) accountUse(path string) Finding {
	f := Finding{Path: path, Object: in.Gone.Object, Subject: in.Gone.Dependent.String(), State: facts.Present}
	f.atOnce = !in.Pod.Template && in.holdsOwnToken()
	f.Message = message(func(quote func(string) string) string {
		runs := in.Gone.who(quote) + " runs as account " + quote(in.Gone.Name) + " (" + path + "): "
		if f.atOnce {
			return runs + "its tokens are refused at once, and new pods, too. Creating it again helps new pods alone: restart the others then."
		}
		return runs + "new pods are refused. Creating it again mends that."
	})
	return f
}

// findTokenSecret returns what judges a reference to a token Secret of the account,
// which goes with it.
func (in *Input) findTokenSecret(report func(Finding)) func(*reference.Reference) {
	return func(r *reference.Reference) {
		known := in.fact(r)
		u := tokenUse{ref: r, secret: known.Secret}
		if known.State != facts.Absent && (u.secret == nil || !isFresh(&known)) {
			report(in.unreadTokenSecret(r, known.Why))
			return
		}
		if u.secret == nil || !u.secret.TokenSecret || u.secret.Account != in.Gone.Name || !u.brings(tokenKey) {
			return
		}
		report(Finding{
			Path: r.Path, Object: in.Gone.Object, Subject: in.Gone.Dependent.String(), State: facts.Present, atOnce: !in.Pod.Template,
			Message: message(func(quote func(string) string) string {
				return in.Gone.who(quote) + " uses its token in Secret " + quote(r.Name) + " (" + r.Path +
					"): the token is refused at once, and the Secret is deleted with account " + quote(in.Gone.Name) + "."
			}),
		})
	}
}

func (in *Input) unreadTokenSecret(r *reference.Reference, why facts.Why) Finding {
	return Finding{
		Path: r.Path, Object: in.Gone.Object, Subject: in.Gone.Dependent.String(), State: facts.Unknown, Why: why,
		Message: message(func(quote func(string) string) string {
			return "Whether " + in.Gone.who(quote) + " uses a token of account " + quote(in.Gone.Name) + " in Secret " + quote(r.Name) + " (" + r.Path +
				") is unknown (" + whyText(why) + "). " + whyCure(why)
		}),
	}
}
