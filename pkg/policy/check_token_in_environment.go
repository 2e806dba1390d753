package policy

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/token"
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
		Title:   "a token passed through an environment variable, be it by a Secret or in the clear",
		Default: v1alpha1.Warn,
		Impact:  Impact{Effect: BreaksNothing, Severity: Medium, Category: Tokens, Waiting: WaitingIsVain},
		Problem: `The environment is handed on to every child process and shown by crash reports and debug pages. It is read once: a token
that is made anew is not seen before the container restarts.

A token that is written into ` + "`env[].value`" + ` is seen by whoever may read the pod or its template, too.`,
		Remedy: `Mount the token as a file, and let the program read the file whenever it makes a call. Client libraries do so with a
projected token at ` + "`/var/run/secrets/kubernetes.io/serviceaccount`" + `.`,
		ReadsSecrets: true,
		Needs:        c.needs,
		Find: func(in *Input, report func(Finding)) {
			c.find(in, report)
			in.findLiteralTokens(report)
		},
	}
}

// findLiteralTokens reports tokens of accounts that are written into the value of a
// variable. What an UPDATE did not change is not reported.
func (in *Input) findLiteralTokens(report func(Finding)) {
	var before map[string]bool // the values that the old pod had
	reference.EachContainer(&in.Pod.Spec, func(path string, c *corev1.Container) {
		for i := range c.Env {
			t := literalToken(c.Env[i].Value)
			if t == nil {
				continue
			}
			if in.Old != nil && before == nil {
				before = literals(&in.Old.Spec)
			}
			if before[c.Env[i].Name+"="+c.Env[i].Value] {
				continue
			}
			at := in.Pod.Prefix + "spec." + path + ".env[" + strconv.Itoa(i) + "].value"
			account := accountObject(t.Claims.Namespace, t.Claims.ServiceAccount.Name)
			report(Finding{Path: at, Object: account, State: facts.Present, Message: message(func(quote func(string) string) string {
				return "The variable " + quote(c.Env[i].Name) + " (" + at + ") has a token of account " + quote(account.Name) + " in namespace " +
					quote(account.Namespace) + " in the clear: whoever may read the pod has it. Mount a projected token instead."
			})})
		}
	})
}

// literalToken returns the token of an account that a value is, alone or behind the
// word Bearer; nil for any other text.
func literalToken(value string) *token.Token {
	const shortest = 64 // no token is that short, so that most values are passed over
	if len(value) < shortest {
		return nil
	}
	value = strings.TrimSpace(value)
	if scheme, rest, found := strings.Cut(value, " "); found && strings.EqualFold(scheme, "Bearer") {
		value = strings.TrimSpace(rest)
	}
	if !strings.HasPrefix(value, "ey") { // a JSON object in base64
		return nil
	}
	t, err := token.Parse([]byte(value))
	if err != nil || t.Claims.ServiceAccount.Name == "" {
		return nil
	}
	return t
}

func literals(spec *corev1.PodSpec) map[string]bool {
	out := map[string]bool{}
	reference.EachContainer(spec, func(_ string, c *corev1.Container) {
		for i := range c.Env {
			if c.Env[i].Value != "" {
				out[c.Env[i].Name+"="+c.Env[i].Value] = true
			}
		}
	})
	return out
}
