package policy

import (
	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

func tokenSecretCreated() Check {
	const id = "token-secret-created"
	return Check{
		ID:      id,
		Title:   "a Secret that is created to hold a long-lived token",
		Subject: OfWrites,
		Default: v1alpha1.Audit,
		Impact:  Impact{Effect: BreaksNothing, Severity: Low, Category: Tokens, Waiting: WaitingIsVain},
		Problem: `A Secret of the type ` + "`kubernetes.io/service-account-token`" + ` gets a token that never expires and is good from
anywhere, for whoever may read the Secret. It dies when the cluster's signing keys change. The check finds such a Secret
when somebody creates it, or names another account in it; what kube-controller-manager makes does not count.

A policy with a ` + "`podSelector`" + ` or conditions is about pods: it does not apply. ` + "`serviceAccountNames`" + ` and exemptions go by the account
that the Secret names.`,
		Remedy: `Mount a projected token, or ask for one when it is needed: ` + "`kubectl create token NAME`" + `. If an outside system
needs a token that lasts, exempt the account, with a reason and a date.`,
		Needs: func(*Input, func(facts.Query)) {},
		Find: func(in *Input, report func(Finding)) {
			w := in.Written
			if w.Kind != reference.Secret || w.Now.Type != corev1.SecretTypeServiceAccountToken || w.account(w.Old) == w.account(w.Now) {
				return
			}
			path := "type"
			if w.Old != nil {
				path = `metadata.annotations["` + corev1.ServiceAccountNameKey + `"]`
			}
			report(Finding{Path: path, Object: w.Object, State: facts.Present, Message: message(func(quote func(string) string) string {
				return "Secret " + quote(w.Name) + " (" + path + ") gets a token of account " + quote(w.account(w.Now)) +
					" that never expires. Mount a projected token, or use kubectl create token."
			})})
		},
	}
}
