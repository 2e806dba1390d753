package app

import (
	"fmt"
	"time"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/printable"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/token"
)

type verifiedList struct {
	Tokens []verified `json:"tokens"`
}

// verified is the judgement on one token.
type verified struct {
	inspected `json:",inline"`

	Keys    string       `json:"keys"`
	Verdict string       `json:"verdict"`
	Reason  token.Reason `json:"reason,omitempty"`
	Text    string       `json:"text,omitempty"`
	Cure    string       `json:"cure,omitempty"`
	Steps   []step       `json:"steps,omitempty"`
	Live    *answer      `json:"live,omitempty"`
}

type step struct {
	Name    token.StepName `json:"name"`
	Verdict string         `json:"verdict"`
	Reason  token.Reason   `json:"reason,omitempty"`
	Text    string         `json:"text"`
}

func (v *verified) judged(r token.Result, text, cure string) {
	v.Verdict, v.Reason, v.Text, v.Cure = r.Verdict.String(), r.Reason, text, cure
	if r.Verdict == token.Valid {
		v.Text, v.Cure = "", ""
	}
}

// step tells what a step came to.
func (o *verifyOptions) step(s token.Step, t *token.Token, set *facts.Set, now time.Time) step {
	out := step{Name: s.Name, Verdict: s.Result.Verdict.String(), Reason: s.Result.Reason, Text: s.Result.Reason.Text()}
	switch {
	case o.offline() && s.Result.Reason == token.ObjectUnknown:
		out.Text = "not looked at"
	case s.Result.Reason == token.ObjectUnknown:
		out.Text = "could not be looked up (" + string(whyUnknown(s.Name, &t.Claims, set)) + ")"
	case o.offline() && s.Result.Reason == token.KeyGone:
		out.Text = "it is of none of the keys that were given"
	case o.assumed(s.Name, &t.Claims):
		out.Verdict, out.Text = token.Unknown.String(), "not looked at: give --issuer or --audience"
	case s.Result.Verdict == token.Valid:
		out.Text = fine(s.Name, &t.Claims, now)
	}
	return out
}

// assumed reports whether nobody said what to compare with.
func (o *verifyOptions) assumed(name token.StepName, c *token.Claims) bool {
	if !o.offline() || len(o.issuers) > 0 || c.Kind == token.Legacy {
		return false
	}
	return name == token.StepIssuer || name == token.StepAudience && len(o.audiences) == 0
}

// fine says what is right about a token.
func fine(name token.StepName, c *token.Claims, now time.Time) string {
	switch name {
	case token.StepSignature:
		return "fits"
	case token.StepIssuer:
		return "accepted"
	case token.StepAudience:
		return "meant for it"
	case token.StepTimes:
		if c.Expires.IsZero() {
			return "never expires"
		}
		return "expires " + when(c.Expires, now)
	case token.StepAccount:
		return "exists: " + printable.Name(c.Namespace+"/"+c.ServiceAccount.Name)
	case token.StepSecret:
		if c.Kind == token.Legacy {
			return "holds this token: " + printable.Name(c.Namespace+"/"+c.Secret.Name)
		}
		return "exists: " + printable.Name(c.Namespace+"/"+c.Secret.Name)
	case token.StepPod:
		return "exists: " + printable.Name(c.Namespace+"/"+c.Pod.Name)
	case token.StepNode:
		return "exists: " + printable.Name(c.Node.Name)
	case token.StepClaims, token.StepBinding: // told where something is wrong
	}
	return "in order"
}

// whyUnknown says why an object could not be looked up.
func whyUnknown(name token.StepName, c *token.Claims, set *facts.Set) facts.Why {
	why := facts.Failed
	facts.NamedBy(c, func(o facts.Object) {
		kinds := map[token.StepName]reference.Kind{
			token.StepAccount: reference.ServiceAccount, token.StepSecret: reference.Secret, token.StepPod: facts.Pod, token.StepNode: facts.Node,
		}
		if f := set.Get(o); o.Kind == kinds[name] && f.Why != facts.NoReason {
			why = f.Why
		}
	})
	return why
}

func (l *verifiedList) print(p *printer, now time.Time) {
	for i := range l.Tokens {
		if i > 0 {
			p.line("")
		}
		p.rows(l.Tokens[i].rows(now))
	}
}

func (v *verified) rows(now time.Time) []row {
	rows := []row{{"Token of", printable.Name(v.Subject), bold}}
	if len(v.Steps) == 0 { // damaged: what can be read is all there is
		rows = v.inspected.rows(now)[1:]
	} else {
		rows = append(rows, row{"Kind", kindText(v.Kind), plain}, row{"Found in", v.Where, plain})
	}
	rows = append(rows, row{"Keys of", v.Keys, plain})
	names := map[token.StepName]string{
		token.StepSignature: "Signature", token.StepIssuer: "Issuer", token.StepAudience: "Audience", token.StepTimes: "Times", token.StepClaims: "Claims",
		token.StepAccount: "Account", token.StepSecret: "Secret", token.StepPod: "Pod", token.StepNode: "Node", token.StepBinding: "Binding",
	}
	for _, s := range v.Steps {
		rows = append(rows, row{names[s.Name], marked(s.Verdict, s.Text), styleOf(s.Verdict)})
	}
	if v.Live != nil {
		rows = append(rows, row{"Live", v.Live.Text, styleOf(v.Live.verdict().String())})
	}
	verdict := v.Verdict
	if v.Text != "" {
		verdict += ": " + v.Text
	}
	return append(rows, row{"Verdict", verdict, styleOf(v.Verdict)}, row{"Cure", v.Cure, plain})
}

// marked makes a step readable without colours.
func marked(verdict, text string) string {
	switch verdict {
	case token.Valid.String():
		return "ok, " + text
	case token.Invalid.String():
		return "WRONG, " + text
	}
	return "?, " + text
}

func styleOf(verdict string) style {
	switch verdict {
	case token.Valid.String():
		return green
	case token.Invalid.String():
		return red
	}
	return yellow
}

// cureOf says what to do about a token that is refused.
func cureOf(why token.Reason, c *token.Claims, now time.Time) string {
	renew := "Get a new one."
	switch {
	case c.Kind == token.Legacy && c.Secret != nil:
		renew = fmt.Sprintf(`Have a new one written into the Secret, or better use a projected token:
kubectl patch secret %s -n %s --type=json -p '[{"op":"remove","path":"/data/token"}]'`, printable.Name(c.Secret.Name), printable.Name(c.Namespace))
	case c.Pod != nil && (why == token.KeyGone || why == token.KeyUnsettled):
		renew = podRenewal(c, now)
	case c.Pod != nil:
		renew = "Read the file again: the kubelet renews the token of a pod. A program that read it once at its start must be restarted."
	case c.ServiceAccount.Name != "":
		renew = fmt.Sprintf("Get a new one: kubectl create token %s -n %s", printable.Name(c.ServiceAccount.Name), printable.Name(c.Namespace))
	}
	switch why {
	case token.Malformed, token.BadAlgorithm, token.Incomplete, token.Contradictory, token.Unusual:
		return "No API server has made this token. Get one with kubectl create token."
	case token.BadSignature:
		return "It was changed on its way, or is of another cluster with a key of the same id. Copy it again; else: " + lower(renew)
	case token.KeyGone:
		return "The signing keys were changed, or it is of another cluster. " + renew
	case token.KeyUnsettled:
		return "If the keys are not being changed right now, it is dead. Wait longer with --signing-key-settle. " + renew
	case token.Expired:
		return renew
	case token.NotYetValid:
		return "Compare the clocks of this machine, of the issuer and of the API server."
	case token.AccountGone, token.AccountReplaced:
		return fmt.Sprintf("No token of the old account comes to life again. kubectl create token %s -n %s makes one of the new account, if there is one.", printable.Name(c.ServiceAccount.Name), printable.Name(c.Namespace))
	case token.SecretGone, token.SecretReplaced, token.PodGone, token.PodReplaced, token.NodeGone, token.NodeReplaced:
		return "It ended with what it was bound to. " + fmt.Sprintf("Get a new one: kubectl create token %s -n %s", printable.Name(c.ServiceAccount.Name), printable.Name(c.Namespace))
	case token.TokenReplaced:
		return "This is an old copy. Take the token that the Secret holds now."
	case token.MarkedInvalid:
		return fmt.Sprintf("It was not used for long. To use it again: kubectl label secret %s -n %s kubernetes.io/legacy-token-invalid-since-", printable.Name(c.Secret.Name), printable.Name(c.Namespace))
	case token.ForeignIssuer:
		return "It is of another cluster, or the API server has more issuers than it publishes: give --issuer."
	case token.OtherCluster:
		return "Ask the API server of the cluster that it is of. If it is of this one, it is dead: its account was deleted."
	case token.ForeignAudience:
		return "It is for somebody else; the API server most likely refuses it. --audience verifies it for them."
	case token.KeysUnavailable, token.KeysPartial:
		return "Give the keys with --key-file or --jwks."
	case token.ObjectUnknown:
		return "Ask somebody who may read the Secrets and accounts of " + printable.Name(c.Namespace) + ", or use --live."
	case token.OtherBinding:
		return "Nobody looks these up; --live asks the API server."
	}
	return ""
}

func lower(text string) string { return string(text[0]|0x20) + text[1:] }
