package audit

import (
	"context"
	"slices"
	"strings"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/token"
)

// tellDead lists the token Secrets whose token the API server refuses, mounted or
// not, with the workloads that use them. Each is read once more before it is told.
func (v *survey) tellDead(ctx context.Context) error {
	var suspects []facts.Object
	for _, o := range v.held.tokenSecrets() {
		dead, err := v.deadIn(ctx, o)
		if err != nil {
			return err
		}
		if dead != nil {
			suspects = append(suspects, o)
		}
	}
	if err := v.confirm(ctx, v.held, v.trust, suspects); err != nil {
		return err
	}
	for _, o := range suspects {
		dead, err := v.deadIn(ctx, o)
		if err != nil {
			return err
		}
		if dead != nil {
			v.out.Dead = append(v.out.Dead, *dead)
		}
	}
	return nil
}

// deadIn returns what is dead in a token Secret; nil if nothing is.
func (v *survey) deadIn(ctx context.Context, o facts.Object) (*report.DeadSecret, error) {
	s := v.held.secretOf(o.Namespace, o.Name)
	if s == nil {
		return nil, nil //nolint:nilnil // it is gone, and nothing is dead in it
	}
	for i := range s.Tokens {
		result, err := v.verdict(ctx, &s.Tokens[i])
		if err != nil {
			return nil, err
		}
		if result.Verdict == token.Invalid {
			name := o.Namespace + "/" + o.Name
			return &report.DeadSecret{
				Secret: name, Account: accountName{o.Namespace, s.Account}.String(), Why: result.Reason.Text(), Workloads: v.uses.of(name),
			}, nil
		}
	}
	return nil, nil //nolint:nilnil // nothing is dead in it
}

// of returns the workloads that use a Secret.
func (u *uses) of(secret string) []Ref {
	var out []Ref
	for key, use := range u.found {
		if key.secret == secret && !slices.Contains(out, use.workload) {
			out = append(out, use.workload)
		}
	}
	slices.SortFunc(out, func(a, b Ref) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// tokenSecrets returns all Secrets of the type of token Secrets.
func (h *Holding) tokenSecrets() []facts.Object {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var out []facts.Object
	for o, k := range h.objects {
		if o.Kind == reference.Secret && k.secret != nil && k.secret.TokenSecret {
			out = append(out, o)
		}
	}
	return out
}
