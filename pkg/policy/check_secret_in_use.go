package policy

import (
	"slices"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

const secretInUseID = "secret-in-use"

func secretInUse() Check {
	// The same line as for a pod that is created while the Secret is missing.
	line := []Check{secretExists(), imagePullSecretExists()}
	return Check{
		ID:      secretInUseID,
		Title:   "workloads that break once a Secret is deleted",
		Subject: OfDeletions,
		Default: v1alpha1.Warn,
		Impact:  Impact{Effect: BreaksAtStart, Severity: High, Category: References, Waiting: WaitingIsVain},
		Problem: `"Delete the Secret, it is recreated" was true of token Secrets until Kubernetes 1.24. Nobody makes a Secret
again that somebody deletes, unless a controller of its own does. Its pods go on until they restart. Then they hang in ` + "`ContainerCreating`" + `
or wait in ` + "`CreateContainerConfigError`" + `, perhaps weeks later, when a node is drained. A token Secret is worse: the API server
refuses its token at once.

Each workload in the namespace that needs the Secret is judged as if the Secret were absent, by the policies that match its
pods: pods that have not ended, and templates that pods will be made from. References that are optional do not count.`,
		Remedy: `Change the workloads first. To make a token anew, leave the Secret and remove ` + "`data.token`" + ` from it. To delete
it all the same, annotate it with ` + "`tokenward.dev/allow-deletion`" + ` and its uid: see [Deletion guard](../deletion-guard.md).`,
		Needs: func(in *Input, ask func(facts.Query)) {
			for i := range line {
				line[i].Needs(in, ask)
			}
		},
		Find: func(in *Input, report func(Finding)) {
			for i := range line {
				line[i].Find(in, func(f Finding) {
					if f.Object == in.Gone.Object {
						report(in.secretUse(&f))
					}
				})
			}
		},
	}
}

// secretUse says what a finding of the line means to the workload.
func (in *Input) secretUse(missing *Finding) Finding {
	at := slices.IndexFunc(in.References, func(r reference.Reference) bool { return r.Path == missing.Path })
	consequence, atOnce := reference.UseImagePull.Consequence(), false // by way of the account
	if at >= 0 {
		r := &in.References[at]
		consequence = r.Use.Consequence()
		brings := tokenUse{ref: r, secret: &facts.Secret{}}.brings(tokenKey)
		atOnce = in.Gone.TokenSecret && handsOut(r) && brings && !in.Pod.Template
	}
	f := Finding{Path: missing.Path, Object: missing.Object, Subject: in.Gone.Dependent.String(), State: facts.Present, Why: missing.Why, atOnce: atOnce}
	if missing.State == facts.Unknown {
		f.State = facts.Unknown
	}
	f.Message = message(func(quote func(string) string) string {
		who, what := in.Gone.who(quote), "Secret "+quote(in.Gone.Name)+" ("+f.Path+")"
		switch {
		case f.State == facts.Unknown:
			return "Whether " + who + " can do without " + what + " is unknown (" + whyText(f.Why) + "): if not, at the next start " + consequence + "."
		case atOnce:
			return who + " uses the token in " + what + ": it is refused at once. Creating the Secret again gives another token: restart the pods then."
		}
		return who + " needs " + what + ": at the next start " + consequence + ". Creating it again mends that."
	})
	return f
}
