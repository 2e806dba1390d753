package survey

import (
	"context"
	"maps"
	"slices"
	"strings"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/rollup"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/usage"
)

// deadSecrets returns the token Secrets whose token the API server refuses, mounted
// or not, with the workloads that use them. Each is read once more before it is
// reported.
func deadSecrets(ctx context.Context, v *verifier, users *usage.Users, owners *rollup.Owners) ([]report.DeadSecret, error) {
	var suspects []facts.Object
	for _, o := range v.listing.TokenSecrets() {
		dead, err := deadSecret(ctx, v, o)
		if err != nil {
			return nil, err
		}
		if dead != nil {
			suspects = append(suspects, o)
		}
	}
	if err := v.confirm(ctx, suspects); err != nil {
		return nil, err
	}
	var out []report.DeadSecret
	for _, o := range suspects {
		dead, err := deadSecret(ctx, v, o)
		if err != nil {
			return nil, err
		}
		if dead != nil {
			dead.Workloads = workloads(ctx, users.Of(o), owners)
			out = append(out, *dead)
		}
	}
	return out, nil
}

// deadSecret returns what is dead in a token Secret; nil if nothing is.
func deadSecret(ctx context.Context, v *verifier, o facts.Object) (*report.DeadSecret, error) {
	s := v.listing.Secret(o.Namespace, o.Name)
	if s == nil {
		return nil, nil //nolint:nilnil // it is gone, and nothing is dead in it
	}
	for i := range s.Tokens {
		result, err := v.verdict(ctx, &s.Tokens[i])
		if err != nil {
			return nil, err
		}
		if result.Verdict == token.Invalid {
			return &report.DeadSecret{
				Secret: o.Namespace + "/" + o.Name, Account: accountName{o.Namespace, s.Account}.String(), Why: result.Reason.Text(),
			}, nil
		}
	}
	return nil, nil //nolint:nilnil // nothing is dead in it
}

// workloads returns the top-level owners of the users of an object.
func workloads(ctx context.Context, uses []usage.Use, owners *rollup.Owners) []report.Ref {
	tops := map[report.Ref]bool{}
	for i := range uses {
		u := &uses[i]
		apiVersion, kind := u.Kind.ToAPIVersionAndKind()
		ref := report.Ref{APIVersion: apiVersion, Kind: kind, Namespace: u.Namespace, Name: u.Name, UID: string(u.UID)}
		tops[owners.Top(ctx, ref, u.Controller)] = true
	}
	return sortedRefs(tops)
}

func sortedRefs(refs map[report.Ref]bool) []report.Ref {
	return slices.SortedFunc(maps.Keys(refs), func(a, b report.Ref) int { return strings.Compare(a.String(), b.String()) })
}
