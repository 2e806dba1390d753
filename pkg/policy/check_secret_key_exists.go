package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/reference"
)

func secretKeyExists() Check {
	c := keyExistence{
		id: "secret-key-exists",
		applies: func(r *reference.Reference) bool {
			return r.Kind == reference.Secret && len(r.Keys) > 0 && r.Required()
		},
	}
	return Check{
		ID:      c.id,
		Title:   "a referenced key that is absent from its Secret",
		Default: v1alpha1.Warn,
		Impact:  Impact{Effect: BreaksAtStart, Severity: High, Category: References, Waiting: WaitingMayHold},
		Problem: `The Secret exists, but not the key that the pod asks for by name. A volume with such an item hangs in
` + "`ContainerCreating`" + ` (` + "`FailedMount`: `references non-existent secret key`" + `); a container with such an
environment variable waits in ` + "`CreateContainerConfigError`" + `.`,
		Remedy: `Add the key to the Secret, or correct its name in the field that the message shows. If the pod can do without
it, set ` + "`optional: true`" + `.`,
		Needs: c.needs,
		Find:  c.find,
	}
}
