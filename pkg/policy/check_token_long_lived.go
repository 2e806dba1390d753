package policy

import "tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"

func tokenLongLived() Check {
	c := tokenCheck{id: "token-long-lived", judge: func(_ *Input, u tokenUse) *fault {
		if !u.longLived() {
			return nil
		}
		return wrong(func(func(string) string) string {
			return "brings a token that never expires. Mount a projected token instead; it has the same files."
		})
	}}
	return Check{
		ID:      c.id,
		Title:   "a pod that uses a long-lived token Secret at all",
		Default: v1alpha1.Audit,
		Impact:  Impact{Effect: BreaksNothing, Severity: Low, Category: Tokens, Waiting: WaitingIsVain},
		Problem: `A token in a Secret never expires and is bound to no pod. It dies with the signing key, which nobody notices, and
whoever has read it once keeps it.`,
		Remedy: `Mount a projected volume with ` + "`serviceAccountToken`" + `, the ConfigMap ` + "`kube-root-ca.crt`" + ` and the namespace: the same three
files, renewed by the kubelet.`,
		ReadsSecrets: true,
		Needs:        c.needs,
		Find:         c.find,
	}
}
