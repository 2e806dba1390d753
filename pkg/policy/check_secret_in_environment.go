package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

func secretInEnvironment() Check {
	const id = "secret-in-environment"
	applies := func(r *reference.Reference) bool {
		return r.Kind == reference.Secret && !r.Nameless() && (r.Use == reference.UseEnv || r.Use == reference.UseEnvFrom)
	}
	return Check{
		ID:      id,
		Title:   "a Secret passed through an environment variable, where the policy says that it must not be",
		Default: v1alpha1.None,
		Impact:  Impact{Effect: BreaksNothing, Severity: Low, Category: References, Waiting: WaitingIsVain},
		Problem: `The environment is handed on to every child process, and shown by crash reports, debug pages and ` + "`kubectl exec -- env`" + `.
It is read once: a password that is changed is not seen before the container restarts. Policy engines have a rule against it;
turn the check on by a policy that selects the pods to which the rule applies.

The check looks at the reference alone, whether the Secret exists or not, and whether it is optional or not. A token in the
environment is the matter of ` + "`token-in-environment`" + `.`,
		Remedy: `Mount the Secret as a volume, and let the program read the file.`,
		Find: func(in *Input, report func(Finding)) {
			in.each(applies, func(r *reference.Reference) {
				report(in.finding(r, r.Path, facts.Present, message(func(quote func(string) string) string {
					return subject(r, quote) + " (" + r.Path + ") is put into the environment, for children and crash reports to see. " +
						"Mount it as a volume instead."
				})))
			})
		},
	}
}
