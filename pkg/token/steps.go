package token

import "time"

// StepName names one of the things that Verify looks at.
type StepName string

// The steps, in the order in which they are told.
const (
	StepSignature StepName = "signature"
	StepIssuer    StepName = "issuer"
	StepAudience  StepName = "audience"
	StepTimes     StepName = "times"
	StepClaims    StepName = "claims"
	StepAccount   StepName = "account"
	StepSecret    StepName = "secret"
	StepPod       StepName = "pod"
	StepNode      StepName = "node"
	StepBinding   StepName = "binding"
)

// Step is one of the things that Verify looks at, and what it came to.
type Step struct {
	Name   StepName
	Result Result
}

// Steps tells how Verify comes to its result: invalid if any step is, and valid
// if all are. Steps that mean nothing for the token are left out: nobody looks
// at the times of a legacy token, or for the account of another cluster's.
func Steps(t *Token, keys *KeySet, f *Facts, now time.Time) []Step {
	if keys == nil {
		keys = &KeySet{}
	}
	if f == nil {
		f = &Facts{}
	}
	c := &t.Claims
	var steps []Step
	add := func(name StepName, r Reason) {
		result := Result{Verdict: Valid}
		if r != "" {
			result = Result{Verdict: r.Verdict(), Reason: r}
		}
		steps = append(steps, Step{name, result})
	}
	foreign := !keys.takesIssuer(c)
	add(StepSignature, t.signatureStep(keys, foreign))
	switch {
	case c.Issuer == "":
		add(StepIssuer, Incomplete)
	case foreign:
		add(StepIssuer, ForeignIssuer)
		add(StepTimes, c.expired(now))
		return steps
	default:
		add(StepIssuer, "")
	}
	if !keys.takesAudience(c) {
		add(StepAudience, ForeignAudience)
	} else if len(c.Audiences) > 0 {
		add(StepAudience, "")
	}
	if c.Kind == Legacy {
		if wrong := c.legacyClaims(); wrong != "" {
			add(StepClaims, wrong)
			return steps
		}
		checked := Checked{Claims: t.Claims, Hash: t.hash}
		add(StepAccount, compare(&c.ServiceAccount, &f.ServiceAccount, now, 0, AccountGone, AccountReplaced))
		add(StepSecret, checked.held(f, now))
		return steps
	}
	add(StepTimes, worst(c.expired(now), c.early(now)))
	if c.Namespace == "" || c.ServiceAccount.Name == "" {
		add(StepClaims, Incomplete)
		return steps
	}
	add(StepAccount, compare(&c.ServiceAccount, &f.ServiceAccount, now, Leeway, AccountGone, AccountReplaced))
	if c.Secret != nil {
		add(StepSecret, compare(c.Secret, &f.Secret.Object, now, Leeway, SecretGone, SecretReplaced))
	}
	if c.Pod != nil {
		add(StepPod, compare(c.Pod, &f.Pod, now, Leeway, PodGone, PodReplaced))
	} else if c.Node != nil {
		add(StepNode, compare(c.Node, &f.Node, now, Leeway, NodeGone, NodeReplaced))
	}
	if c.Webhook {
		add(StepBinding, OtherBinding)
	}
	return steps
}

// signatureStep looks at the signature alone. That no key fits the token of
// another issuer means nothing; that one does means what it always does.
func (t *Token) signatureStep(keys *KeySet, foreign bool) Reason {
	switch {
	case t.signed == nil && (isSecret(t.Algorithm) || !foreign):
		return BadAlgorithm
	case t.signed == nil:
		return ForeignIssuer
	}
	misfit := keys.misfit(t)
	if misfit != "" && foreign {
		return ForeignIssuer
	}
	return misfit
}
