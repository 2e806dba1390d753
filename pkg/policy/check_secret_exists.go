package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

func secretExists() Check {
	c := existence{
		id: "secret-exists",
		applies: func(r *reference.Reference) bool {
			return r.Kind == reference.Secret && r.Use != reference.UseImagePull && r.Required()
		},
		cure: secretCure,
	}
	return Check{
		ID:      c.id,
		Title:   "a referenced Secret that is absent and not optional",
		Default: v1alpha1.Warn,
		Impact:  Impact{Effect: BreaksAtStart, Severity: High, Category: References, Waiting: WaitingMayHold},
		Problem: `The kubelet waits for every Secret that a pod needs. For a volume the pod hangs in ` + "`ContainerCreating`" + `
with the event ` + "`FailedMount`" + `; for an environment variable the container waits in
` + "`CreateContainerConfigError`" + `. Nothing stands in the pod's log, because nothing has run.

Token Secrets are the classic case: after a cluster's signing keys were regenerated and its token Secrets deleted,
they come back under other names, or (since Kubernetes 1.24) not at all.

A Secret that the Secrets Store CSI driver makes for this pod (a mounted SecretProviderClass lists it in
` + "`secretObjects`" + `) counts as present: it comes into being when the pod starts.`,
		Remedy: `Create the Secret, or correct the name in the field that the message shows. If the pod can do without it, set
` + "`optional: true`" + `. For a token Secret of the pod's own account that came back under another name, the message
names the new one; better is a projected token, which depends on no Secret's name.`,
		Needs: c.needs,
		Find:  c.find,
	}
}

// secretCure names the Secret that replaced a missing token of the pod's own
// account. No other name is ever suggested: who may create pods need not know
// which Secrets there are.
func secretCure(in *Input, r *reference.Reference, quote func(string) string) string {
	if !wasOwnToken(in, r) {
		return "Create it, or correct the name."
	}
	replacements := in.Facts.Get(tokenSecretsOf(in))
	if replacements.Why == facts.Forbidden { // there are some, and this caller may not know of them
		return `It held a token of the pod's account: mount a projected token instead, or look in "kubectl get secrets" for the new name.`
	}
	for _, name := range replacements.Names {
		if name != r.Name { // an index may be a moment behind
			return "The account's token is now in " + quote(name) + ": use that name, or a projected token."
		}
	}
	return "It held a token of the pod's account: mount a projected token instead."
}
