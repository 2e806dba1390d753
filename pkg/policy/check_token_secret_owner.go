package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
)

func tokenSecretOwner() Check {
	owner := func(in *Input, h *held) facts.Object { return accountObject(in.Namespace, h.secret.Account) }
	c := tokenCheck{
		id: "token-secret-owner",
		more: func(in *Input, h *held, ask func(facts.Query)) {
			if h.secret.TokenSecret && h.secret.Account != "" {
				ask(facts.Query{Object: owner(in, h), Inside: true})
			}
		},
		judge: func(in *Input, h *held) *fault {
			if !h.secret.TokenSecret {
				return nil
			}
			if h.secret.Account == "" {
				return wrong(func(func(string) string) string {
					return "is a token Secret of no account: nobody fills it. Annotate it with kubernetes.io/service-account.name, or mount a projected token."
				})
			}
			account := in.Facts.Get(owner(in, h))
			switch {
			case !account.Known():
				return &fault{state: facts.Unknown, text: func(quote func(string) string) string {
					return "is of account " + quote(h.secret.Account) + ", which could not be looked up (" + whyText(account.Why) + "). " + whyCure(account.Why)
				}}
			case account.State == facts.Absent && account.Why == facts.NotGiven:
				return wrong(func(quote func(string) string) string {
					return "is of account " + quote(h.secret.Account) + ", which is not among the manifests: without it nobody fills the Secret. " +
						"Create the account, or mount a projected token."
				})
			case account.State == facts.Absent:
				return wrong(func(quote func(string) string) string {
					return "is of account " + quote(h.secret.Account) + ", which is gone: calls answer 401. " +
						"Create the account and a new token Secret, or mount a projected token."
				})
			case account.UID != "" && h.secret.AccountUID != "" && account.UID != h.secret.AccountUID:
				return wrong(func(quote func(string) string) string {
					return "is of an earlier account " + quote(h.secret.Account) + ": calls answer 401. " +
						"Create a new token Secret, or mount a projected token."
				}, owner(in, h))
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
		Needs: c.needs,
		Find:  c.find,
	}
}
