package policy

import "tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"

func tokenSecretPopulated() Check {
	c := tokenCheck{id: "token-secret-populated", judge: func(in *Input, u tokenUse) *fault {
		age := in.Now.Sub(u.secret.Created)
		if !u.secret.TokenSecret || u.secret.HasToken || !u.brings(tokenKey) || age <= in.Parameters.GracePeriod {
			return nil
		}
		if u.secret.Created.IsZero() {
			return nil // a manifest of what is yet to be made
		}
		return wrong(func(func(string) string) string {
			return "has no token: nobody fills it. See that it is annotated with an account that exists, and that the token controller runs."
		})
	}}
	return Check{
		ID:         c.id,
		Title:      "a token Secret without a token, older than a grace period",
		Default:    v1alpha1.Warn,
		Impact:     Impact{Effect: BreaksAtStart, Severity: High, Category: Tokens, Waiting: WaitingMayHold},
		Parameters: []string{"gracePeriod"},
		Problem: `The token controller fills a Secret of type ` + "`kubernetes.io/service-account-token`" + ` within a second. One that stays
empty names an account that does not exist, or the kube-controller-manager runs without
` + "`--service-account-private-key-file`" + `. The pod starts all the same, unless it asks for the key by name, and its calls answer 401.`,
		Remedy: `Correct the annotation ` + "`kubernetes.io/service-account.name`" + `, create the account, or let the pod mount a projected
token, which needs no Secret. ` + "`gracePeriod`" + ` (30s) is how old the Secret may be without a token.`,
		ReadsSecrets: true,
		Needs:        c.needs,
		Find:         c.find,
	}
}
