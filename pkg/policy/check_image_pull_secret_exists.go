package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/reference"
)

func imagePullSecretExists() Check {
	c := existence{
		id: "image-pull-secret-exists",
		applies: func(r *reference.Reference) bool {
			return r.Kind == reference.Secret && r.Use == reference.UseImagePull
		},
	}
	return Check{
		ID:      c.id,
		Title:   "an image pull Secret that is absent",
		Default: v1alpha1.Warn,
		Problem: `The kubelet pulls the images without the credentials, with the event
` + "`FailedToRetrieveImagePullSecret`" + `. The pod still runs if the image can be pulled without them, or is on the node
already; otherwise it ends in ` + "`ImagePullBackOff`" + `, perhaps only on the next node.`,
		Remedy: `Create the Secret, or take it out of ` + "`imagePullSecrets`" + `. If the pod does not name it, it comes from the
pod's account: the API server copies the account's ` + "`imagePullSecrets`" + ` into pods that have none.`,
		Needs: c.needs,
		Find:  c.find,
	}
}
