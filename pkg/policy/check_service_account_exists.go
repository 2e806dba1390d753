package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

func serviceAccountExists() Check {
	c := existence{
		id:      "service-account-exists",
		applies: func(r *reference.Reference) bool { return r.Kind == reference.ServiceAccount },
	}
	// The API server itself refuses a Pod whose account does not exist. Nobody else
	// says so of a template or a manifest.
	return Check{
		ID:      c.id,
		Title:   "an account that does not exist (of workload templates)",
		Default: v1alpha1.Warn,
		Impact:  Impact{Effect: BreaksAtCreation, Severity: High, Category: References, Waiting: WaitingMayHeal},
		Problem: `The API server takes the workload, and then refuses every pod that its controller tries to create. Only an event
on the ReplicaSet, Job or StatefulSet tells: ` + "`error looking up service account`" + `.`,
		Remedy: `Create the ServiceAccount, or correct ` + "`serviceAccountName`" + ` in the template.`,
		Needs: func(in *Input, ask func(facts.Query)) {
			if in.Pod.AsWritten() {
				c.needs(in, ask)
			}
		},
		Find: func(in *Input, report func(Finding)) {
			if in.Pod.AsWritten() {
				c.find(in, report)
			}
		},
	}
}
