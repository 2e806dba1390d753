package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/reference"
)

func trustBundleExists() Check {
	c := existence{
		id: "trust-bundle-exists",
		applies: func(r *reference.Reference) bool {
			return r.Kind == reference.ClusterTrustBundle && r.Required()
		},
	}
	return Check{
		ID:      c.id,
		Title:   "a projected ClusterTrustBundle that is absent and not optional",
		Default: v1alpha1.Audit,
		Impact:  Impact{Effect: BreaksAtStart, Severity: High, Category: References, Waiting: WaitingMayHold},
		Problem: `A projected volume asks for a ClusterTrustBundle by name, or for those of a signer, and there is none. The pod hangs
in ` + "`ContainerCreating`" + ` with the event ` + "`FailedMount`" + `. A signer without ` + "`labelSelector`" + ` selects no
bundle at all; an empty one (` + "`{}`" + `) selects all of the signer's.`,
		Remedy: `Create the bundle, or correct the name, signer or selector. If the pod can do without it, set
` + "`optional: true`" + `.`,
		Needs: c.needs,
		Find:  c.find,
	}
}
