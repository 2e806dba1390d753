package policy

import (
	"strings"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

func secretExists() Check {
	const id = "secret-exists"
	applies := func(r *reference.Reference) bool {
		return r.Kind == reference.Secret && r.Use != reference.UseImagePull && r.Required()
	}
	return Check{
		ID:      id,
		Title:   "a referenced Secret that is absent and not optional",
		Default: v1alpha1.Warn,
		Problem: `The kubelet waits for every Secret that a pod needs. For a volume the pod hangs in
` + "`ContainerCreating`" + ` with the event ` + "`FailedMount`" + `; for an environment variable the container waits in
` + "`CreateContainerConfigError`" + `. Nothing stands in the pod's log, because nothing has run.

Token Secrets are the classic case: after a cluster's signing keys were regenerated and its token Secrets deleted,
they come back under other names, or (since Kubernetes 1.24) not at all.`,
		Remedy: `Create the Secret, or correct the name in the field that the message shows. If the pod can do without it, set
` + "`optional: true`" + `. For a token Secret of the pod's own account that came back under another name, the message
names the new one; better is a projected token, which depends on no Secret's name.`,
		Needs: func(in *Input, ask func(facts.Query)) {
			in.each(applies, func(r *reference.Reference) {
				object := in.object(r)
				ask(facts.Query{Object: object})
				if fact := in.Facts.Get(object); fact.State == facts.Absent {
					askReplacement(in, r, ask)
				}
			})
		},
		Find: func(in *Input, report func(Finding)) {
			in.each(applies, func(r *reference.Reference) {
				fact := in.Facts.Get(in.object(r))
				switch fact.State {
				case facts.Present:
				case facts.Unknown:
					report(in.finding(r, r.Path, facts.Unknown, unknownText(id, r, r.Path, "it is", fact.Why)))
				case facts.Absent:
					text := missingText(id, r, func(quote func(string) string) string {
						return secretCure(in, r, quote)
					})
					report(in.finding(r, r.Path, facts.Absent, text))
				}
			})
		},
	}
}

// wasOwnToken reports whether the name is one that the token controller gave
// to a token Secret of the pod's own account before Kubernetes 1.24:
// ACCOUNT-token-xxxxx.
func wasOwnToken(in *Input, r *reference.Reference) bool {
	suffix, ok := strings.CutPrefix(r.Name, in.Pod.Spec.ServiceAccountName+"-token-")
	return ok && len(suffix) == 5
}

func replacementQuery(in *Input) facts.Object {
	return facts.Object{Kind: facts.TokenSecretsOf, Namespace: in.Namespace, Name: in.Pod.Spec.ServiceAccountName}
}

func askReplacement(in *Input, r *reference.Reference, ask func(facts.Query)) {
	if wasOwnToken(in, r) {
		ask(facts.Query{Object: replacementQuery(in)})
	}
}

// secretCure names the Secret that replaced a missing token of the pod's own
// account. No other name is ever suggested: who may create pods need not know
// which Secrets there are.
func secretCure(in *Input, r *reference.Reference, quote func(string) string) string {
	if !wasOwnToken(in, r) {
		return "Create it, or correct the name."
	}
	if now := in.Facts.Get(replacementQuery(in)); len(now.Names) > 0 {
		return "The account's token is now in " + quote(now.Names[0]) + ": use that name, or a projected token."
	}
	return "It was a token of the account; mount a projected token instead."
}
