package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

func accountAutomount() Check {
	const id = "account-automount"
	return Check{
		ID:      id,
		Title:   "a ServiceAccount that gives every pod of its own a token",
		Subject: OfWrites,
		Default: v1alpha1.None,
		Impact:  Impact{Effect: BreaksNothing, Severity: Low, Category: Tokens, Waiting: WaitingIsVain},
		Problem: `Unless a ServiceAccount says ` + "`automountServiceAccountToken: false`" + `, every pod that runs as it gets an API token,
whether it calls the API server or not. The check finds an account that is created so, or is changed to that. The accounts that
kube-controller-manager makes, ` + "`default`" + ` in each namespace, do not count.

A policy with a ` + "`podSelector`" + ` or conditions is about pods: it does not apply. ` + "`serviceAccountNames`" + ` and exemptions go by the account's
name.`,
		Remedy: `Set ` + "`automountServiceAccountToken: false`" + ` on the account, and ` + "`true`" + ` on the pods that need a token.`,
		Needs:  func(*Input, func(facts.Query)) {},
		Find: func(in *Input, report func(Finding)) {
			w := in.Written
			if w.Kind != reference.ServiceAccount || !givesTokens(w.Now) || (w.Old != nil && givesTokens(w.Old)) {
				return
			}
			const path = "automountServiceAccountToken"
			report(Finding{Path: path, Object: w.Object, State: facts.Present, Message: message(func(quote func(string) string) string {
				return "Account " + quote(w.Name) + " (" + path + ") gives every pod that runs as it an API token. Set " + path + ": false."
			})})
		},
	}
}

func givesTokens(account *Guarded) bool {
	return account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken
}
