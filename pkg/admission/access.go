package admission

import (
	"context"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
)

// Access says what callers may know.
type Access interface {
	// MayReadSecrets reports whether a user may read all Secrets in a namespace. What
	// can't be found out is no.
	MayReadSecrets(ctx context.Context, user *authenticationv1.UserInfo, namespace string) bool
}

// hideNames takes the names of an account's token Secrets out of the facts, unless
// the caller may read Secrets there: a message would tell them. Nobody is asked where
// there are none, which are all reviews but those that name a token Secret of the
// account's that is gone.
func (h *Handler) hideNames(r *http.Request, arrived time.Time, review *policy.Attributes, set *facts.Set) {
	if review.Pod == nil {
		return
	}
	o := facts.Object{Kind: facts.TokenSecretsOf, Namespace: review.Namespace, Name: review.Pod.Spec.ServiceAccountName}
	f := set.Get(o)
	if len(f.Names) == 0 {
		return
	}
	timeout := granted(r)
	ctx, cancel := context.WithDeadline(r.Context(), arrived.Add(timeout-margin(timeout)/2))
	defer cancel()
	if h.Access != nil && h.Access.MayReadSecrets(ctx, &review.UserInfo, review.Namespace) {
		return
	}
	f.Names, f.Why = nil, facts.Forbidden
	set.Put(o, f)
}
