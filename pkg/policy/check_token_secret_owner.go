package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
)

func tokenSecretOwner() Check {
	owner := func(in *Input, u tokenUse) facts.Object { return accountObject(in.Namespace, u.secret.Account) }
	c := tokenCheck{
		id: "token-secret-owner",
		needsMore: func(in *Input, u tokenUse, ask func(facts.Query)) {
			if u.secret.TokenSecret && u.secret.Account != "" {
				ask(facts.Query{Object: owner(in, u), Contents: true})
			}
		},
		judge: func(in *Input, u tokenUse) *fault {
			if !u.secret.TokenSecret {
				return nil
			}
			if u.secret.Account == "" {
				return wrong(func(func(string) string) string {
					return "is a token Secret of no account: nobody fills it. Annotate it with kubernetes.io/service-account.name, or mount a projected token."
				})
			}
			account := in.Facts.Get(owner(in, u))
			switch {
			case !account.Known():
				return &fault{state: facts.Unknown, text: func(quote func(string) string) string {
					return "is of account " + quote(u.secret.Account) + ", which could not be looked up (" + whyText(account.Why) + "). " + whyCure(account.Why)
				}}
			case account.State == facts.Absent && account.Why == facts.NotGiven:
				return wrong(func(quote func(string) string) string {
					return "is of account " + quote(u.secret.Account) + ", which is not among the manifests: without it nobody fills the Secret. " +
						"Create the account, or mount a projected token."
				})
			case account.State == facts.Absent:
				return wrong(func(quote func(string) string) string {
					return "is of account " + quote(u.secret.Account) + ", which is gone: calls answer 401. " +
						"Create the account and a new token Secret, or mount a projected token."
				})
			case account.UID != "" && u.secret.AccountUID != "" && account.UID != u.secret.AccountUID:
				return wrong(func(quote func(string) string) string {
					return "is of an earlier account " + quote(u.secret.Account) + ": calls answer 401. " +
						"Create a new token Secret, or mount a projected token."
				}, owner(in, u))
			}
			return nil
		},
	}
	return Check{
		ID:      c.id,
		Title:   "a token Secret whose account is gone, or was deleted and made anew",
		Default: v1alpha1.Warn,
		Impact:  Impact{Effect: BreaksInUse, Severity: High, Category: Tokens, Waiting: WaitingMayHeal},
		Problem: `A token is good only for the very account that it was made for: one of the same name with another uid is another
account. The token controller deletes such a Secret, and the next pod that mounts it hangs in ` + "`ContainerCreating`" + `.`,
		Remedy: `Create the account, and a new Secret of type ` + "`kubernetes.io/service-account-token`" + ` for it, or let the pod mount a
projected token.`,
		ReadsSecrets: true,
		Needs:        c.needs,
		Find:         c.find,
	}
}
