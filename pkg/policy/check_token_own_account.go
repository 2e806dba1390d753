package policy

import "tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"

func tokenOwnAccount() Check {
	c := tokenCheck{id: "token-own-account", judge: func(in *Input, u tokenUse) *fault {
		namespace, name := u.account(in)
		own := in.Pod.Spec.ServiceAccountName
		if name == "" || (namespace == in.Namespace && name == own) {
			return nil
		}
		return wrong(func(quote func(string) string) string {
			whose := quote(name)
			if namespace != in.Namespace {
				whose += " of namespace " + quote(namespace)
			}
			return "holds a token of account " + whose + ", but the pod runs as " + quote(own) +
				". Set serviceAccountName, and mount a projected token."
		})
	}}
	return Check{
		ID:      c.id,
		Title:   "a pod that mounts the token of another account than its own",
		Default: v1alpha1.Warn,
		Impact:  Impact{Effect: BreaksNothing, Severity: Medium, Category: Tokens, Waiting: WaitingIsVain},
		Problem: `What the pod may do is not what its ` + "`serviceAccountName`" + ` says. Who may create pods in a namespace can so act as any
account of which a token Secret lies there.`,
		Remedy: `Set ` + "`serviceAccountName`" + ` to the account that the pod is to act as and mount a projected token. Exempt what really
needs a foreign token, such as a controller of another cluster.`,
		ReadsSecrets: true,
		Needs:        c.needs,
		Find:         c.find,
	}
}
