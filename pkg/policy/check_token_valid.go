package policy

import (
	"time"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/token"
)

func tokenValid() Check {
	c := tokenCheck{
		id: "token-valid",
		needsMore: func(in *Input, u tokenUse, ask func(facts.Query)) {
			eachNamed(in, u, func(o facts.Object) { ask(facts.Query{Object: o, Contents: true}) })
			for _, key := range keyOf(u) {
				ask(facts.Query{Object: key})
			}
		},
		judge: func(in *Input, u tokenUse) *fault {
			result := verdictOn(in, u)
			switch result.Verdict {
			case token.Invalid:
				var rests []facts.Object
				eachNamed(in, u, func(o facts.Object) { rests = append(rests, o) })
				f := wrong(func(func(string) string) string {
					return "holds a token that answers 401: " + result.Reason.Text() + ". " + tokenCure(u, result.Reason)
				}, rests...)
				f.looks = keyOf(u)
				return f
			case token.Unknown:
				return &fault{state: facts.Unknown, looks: keyOf(u), text: func(func(string) string) string {
					return "holds a token that may be refused: " + result.Reason.Text() + "."
				}}
			case token.Valid:
			}
			return nil
		},
	}
	return Check{
		ID:      c.id,
		Title:   "a token that the API server would not accept",
		Default: v1alpha1.Warn,
		Impact:  Impact{Effect: BreaksInUse, Severity: High, Category: Tokens, Waiting: WaitingMayHoldTokenSecret, UsesTrust: true},
		Problem: `After the signing keys of a cluster were changed, its token Secrets still exist and are still mounted, and every call
made with them answers 401. Nothing notices: the token controller fills only an empty Secret. Tokenward verifies the token
that the pod is about to use as the API server would: signature, issuer, times, and that the account, the Secret, the pod
or the node that it names are still those that it was made for. It does so by the keys that the API server publishes and
never sends a token anywhere, so that no Secret is labelled as used.

Any Secret is looked into, whatever its type, if one of the keys that the pod uses holds a service-account token.

A key is gone if the API server has not published it for ` + "`--signing-key-settle`" + `. A key that it never published is gone if a token
showed its id at least that long ago. A look at the API server that starts after the request confirms it. Before that the token
is unknown: while keys are rolled out over several API servers the answer depends on which is asked. A token of an unknown
issuer or for a foreign audience is unknown, too. So is a legacy token without a fitting key, outside a token Secret, if its
account does not exist here: it may be another cluster's.`,
		Remedy: `Let the token controller write a new token under the same name; then restart the pods that mount it:

    kubectl patch secret NAME --type=json -p '[{"op": "remove", "path": "/data/token"}]'

To delete the Secret is no cure: since Kubernetes 1.24 nobody makes it again, and pods hang for want of it. Under the same RSA
key the new token is the same as the old one, byte by byte: this mends a dead token, it revokes none. Better than
any token Secret is a projected token, which is renewed by itself.`,
		ReadsSecrets: true,
		Needs:        c.needs,
		Find:         c.find,
	}
}

// eachNamed visits the objects that a token names, on which its validity rests.
// Who may create pods can put any claims into a Secret: nothing is looked up for
// a token that is refused anyhow, and nothing outside the pod's namespace by
// claims that no key vouches for, since the answer would tell what exists there.
func eachNamed(in *Input, u tokenUse, visit func(facts.Object)) {
	if u.token == nil || u.token.Broken.Reason != "" || u.token.Signature.Verdict == token.Invalid {
		return
	}
	vouched := u.token.Signature.Verdict == token.Valid || u.token.Signature.Reason == token.ForeignAudience
	facts.NamedBy(&u.token.Claims, func(o facts.Object) {
		if vouched || o.Namespace == in.Namespace {
			visit(o)
		}
	})
}

// keyOf returns the signing key on which the verdict rests, if any.
func keyOf(u tokenUse) []facts.Object {
	if u.token == nil || u.token.Broken.Reason != "" {
		return nil
	}
	if key, ok := facts.KeyOf(&u.token.Checked); ok {
		return []facts.Object{key}
	}
	return nil
}

// verdictOn says what the API server would say to a token.
func verdictOn(in *Input, u tokenUse) token.Result {
	if u.token == nil {
		return token.Result{Verdict: token.Valid}
	}
	return TokenVerdict(u.token, in.Facts.Get, in.Now)
}

// TokenVerdict says what the API server would say to a token, given what is
// known of the objects that it names.
func TokenVerdict(t *facts.SecretToken, get func(facts.Object) facts.Fact, now time.Time) token.Result {
	if t.Broken.Reason != "" {
		return t.Broken
	}
	named := facts.Named(t, get)
	return t.Judge(&named, now)
}

// tokenCure tells what mends a token that is refused for a reason.
func tokenCure(u tokenUse, why token.Reason) string {
	switch why {
	case token.AccountGone, token.AccountReplaced:
		return "Create a new token Secret, or mount a projected token."
	case token.MarkedInvalid:
		return "Remove that label to use it again, or mount a projected token."
	default:
	}
	if u.secret.TokenSecret {
		return reissue
	}
	return "Mount a projected token instead, or copy a new one."
}
