package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/reference"
)

func tokenInEnvironment() Check {
	c := tokenCheck{id: "token-in-environment", judge: func(_ *Input, u tokenUse) *fault {
		inEnv := u.ref.Use == reference.UseEnv || u.ref.Use == reference.UseEnvFrom
		if !inEnv || (u.token == nil && !u.longLived()) {
			return nil
		}
		return wrong(func(func(string) string) string {
			return "puts a token into the environment, for children and crash reports to see. Mount a projected token instead."
		})
	}}
	return Check{
		ID:      c.id,
		Title:   "a token passed through an environment variable",
		Default: v1alpha1.Warn,
		Impact:  Impact{Effect: BreaksNothing, Severity: Medium, Category: Tokens, Waiting: WaitingIsVain},
		Problem: `The environment is handed on to every child process and shown by crash reports and debug pages. It is read once: a token
that is made anew is not seen before the container restarts.`,
		Remedy: `Mount the token as a file, and let the program read the file whenever it makes a call. Client libraries do so with a
projected token at ` + "`/var/run/secrets/kubernetes.io/serviceaccount`" + `.`,
		ReadsSecrets: true,
		Needs:        c.needs,
		Find:         c.find,
	}
}
