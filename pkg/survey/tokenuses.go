package survey

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/usage"
)

// tokenUses gathers which pods use which tokens: pod, Secret, account.
type tokenUses struct {
	listing  *listing.Listing
	found    map[tokenUseKey]*tokenUse
	accounts map[accountName]int // pods that hold a token of the account
	users    usage.Users         // of the Secrets that tokens are in
}

func newTokenUses(l *listing.Listing) *tokenUses {
	return &tokenUses{listing: l, found: map[tokenUseKey]*tokenUse{}, accounts: map[accountName]int{}}
}

type accountName struct{ namespace, name string }

// String returns NAMESPACE/NAME, or nothing where the account is unknown.
func (a accountName) String() string {
	if a.name == "" {
		return ""
	}
	return a.namespace + "/" + a.name
}

type tokenUseKey struct {
	workload    string // its uid
	secret, key string // empty for a projected token
	account     accountName
}

// tokenUse is a token that pods of a workload use.
type tokenUse struct {
	workload report.Ref
	pods     int
	last     types.UID          // of the pods: the one that was counted last
	token    *facts.SecretToken // nil for a projected token
	kind     string
}

// visit notes the tokens that a pod uses.
func (u *tokenUses) visit(o *listing.Item, top report.Ref, references []reference.Reference) {
	holds := map[accountName]bool{}
	note := func(key tokenUseKey, kind string, t *facts.SecretToken) {
		if key.account.name != "" {
			holds[key.account] = true
		}
		use := u.found[key]
		if use == nil {
			use = &tokenUse{workload: top, token: t, kind: kind}
			u.found[key] = use
		}
		if use.pods == 0 || use.last != o.Meta.GetUID() {
			use.pods, use.last = use.pods+1, o.Meta.GetUID()
		}
	}
	if mountsProjected(&o.Pod.Spec) {
		note(tokenUseKey{workload: top.UID, account: accountName{o.Namespace, o.Pod.Spec.ServiceAccountName}}, "projected", nil)
	}
	var reaching []reference.Reference // those by which the pod gets at a token
	for i := range references {
		r := &references[i]
		secret, tokens := u.tokens(o.Namespace, r)
		for _, t := range tokens {
			account := accountName{t.Claims.Namespace, t.Claims.ServiceAccount.Name}
			if account.name == "" && secret.TokenSecret {
				account = accountName{o.Namespace, secret.Account}
			}
			note(tokenUseKey{workload: top.UID, secret: o.Namespace + "/" + r.Name, key: t.Key, account: account}, t.Claims.Kind.String(), t)
		}
		if len(tokens) > 0 {
			reaching = append(reaching, *r)
		}
	}
	if len(reaching) > 0 {
		user := usage.NewUser(&o.Object, o.Meta)
		user.Pod, user.Whole = nil, nil // who uses what is all that is wanted
		u.users.Add(user, reaching)
	}
	for account := range holds {
		u.accounts[account]++
	}
}

// tokens returns the tokens that a reference brings into a pod, and the Secret that
// they are in.
func (u *tokenUses) tokens(namespace string, r *reference.Reference) (*facts.Secret, []*facts.SecretToken) {
	if r.Kind != reference.Secret || r.Unused || (r.Use != reference.UseVolume && r.Use != reference.UseEnv && r.Use != reference.UseEnvFrom) {
		return nil, nil
	}
	secret := u.listing.Secret(namespace, r.Name)
	if secret == nil {
		return nil, nil
	}
	var tokens []*facts.SecretToken
	for i := range secret.Tokens {
		t := &secret.Tokens[i]
		if len(r.Keys) == 0 || slices.ContainsFunc(r.Keys, func(k reference.Key) bool { return k.Name == t.Key }) {
			tokens = append(tokens, t)
		}
	}
	return secret, tokens
}

// mountsProjected reports whether a container mounts a projected token.
func mountsProjected(spec *corev1.PodSpec) bool {
	for i := range spec.Volumes {
		if !projectsToken(&spec.Volumes[i]) {
			continue
		}
		mounted := false
		reference.EachContainer(spec, func(_ string, c *corev1.Container) {
			mounted = mounted || slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == spec.Volumes[i].Name })
		})
		if mounted {
			return true
		}
	}
	return false
}

func projectsToken(volume *corev1.Volume) bool {
	return volume.Projected != nil && slices.ContainsFunc(volume.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.ServiceAccountToken != nil })
}

// report returns which workload uses which token, and what the API server says to
// it.
func (u *tokenUses) report(ctx context.Context, v *verifier) ([]report.TokenUse, error) {
	reported := make([]report.TokenUse, 0, len(u.found))
	for key, use := range u.found {
		out := report.TokenUse{
			Workload: use.workload, Pods: use.pods, Secret: key.secret, Key: key.key, Account: key.account.String(),
			Kind: use.kind, Verdict: token.Valid.String(),
		}
		if use.token != nil {
			result, err := v.verdict(ctx, use.token)
			if err != nil {
				return nil, err
			}
			out.Verdict, out.Why = result.Verdict.String(), result.Reason.Text()
		}
		reported = append(reported, out)
	}
	return reported, nil
}
