package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

func imagePullSecretExists() Check {
	c := existence{
		id: "image-pull-secret-exists",
		applies: func(r *reference.Reference) bool {
			return r.Kind == reference.Secret && r.Use == reference.UseImagePull
		},
		cure: func(in *Input, r *reference.Reference, quote func(string) string) string {
			if r.Path == in.accountPath() {
				return "It is one of the imagePullSecrets of account " + quote(in.Pod.Spec.ServiceAccountName) + ": create it, or take it out there."
			}
			return "Create it, or correct the name."
		},
	}
	return Check{
		ID:      c.id,
		Title:   "an image pull Secret that is absent",
		Default: v1alpha1.Warn,
		Impact:  Impact{Effect: BreaksAtStart, Severity: High, Category: References, Waiting: WaitingMayHeal},
		Problem: `The kubelet pulls the images without the credentials, with the event
` + "`FailedToRetrieveImagePullSecret`" + `. The pod still runs if the image can be pulled without them, or is on the node
already, or a credential provider of the kubelet has credentials, with tokens of the pod's account perhaps (KEP-4412);
otherwise it ends in ` + "`ImagePullBackOff`" + `, perhaps only on the next node.`,
		Remedy: `Create the Secret, or take it out of ` + "`imagePullSecrets`" + `. If the pod does not name it, it comes from the
pod's account: the API server copies the account's ` + "`imagePullSecrets`" + ` into pods that have none.`,
		Needs: func(in *Input, ask func(facts.Query)) {
			if in.getsPullSecrets() {
				// No refusal of a deletion rests on what an index held.
				ask(facts.Query{Object: in.ownAccount(), Contents: true, Fresh: in.Gone != nil})
			}
			c.needs(in, ask)
			in.eachInheritedPullSecret(func(r *reference.Reference) { c.needsOne(in, r, ask) })
		},
		Find: func(in *Input, report func(Finding)) {
			c.find(in, report)
			in.eachInheritedPullSecret(func(r *reference.Reference) { c.findOne(in, r, report) })
		},
	}
}

func (in *Input) accountPath() string { return in.Pod.Prefix + "spec.serviceAccountName" }

// getsPullSecrets reports whether the pod of a manifest will get the pull Secrets
// of its account: it has none itself (k8s.io/kubernetes,
// plugin/pkg/admission/serviceaccount).
func (in *Input) getsPullSecrets() bool {
	written := in.Pod.Written || (in.Pod.Template && in.Gone != nil && in.Gone.PullSecret)
	return written && len(in.Pod.Spec.ImagePullSecrets) == 0
}

// eachInheritedPullSecret visits the references that the pod will have once it
// got those of its account. They all stand in one field.
func (in *Input) eachInheritedPullSecret(visit func(*reference.Reference)) {
	if !in.getsPullSecrets() {
		return
	}
	account := in.Facts.Get(in.ownAccount())
	if !account.Known() || account.Account == nil {
		return
	}
	for _, name := range account.Account.PullSecrets {
		visit(&reference.Reference{Kind: reference.Secret, Name: name, Use: reference.UseImagePull, Path: in.accountPath()})
	}
}
