package audit

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/token"
)

// uses gathers which pods use which tokens: pod, Secret, account.
type uses struct {
	survey   *survey
	found    map[useKey]*use
	accounts map[accountName]int // pods that hold a token of the account
}

type accountName struct{ namespace, name string }

func (a accountName) String() string {
	if a.name == "" {
		return ""
	}
	return a.namespace + "/" + a.name
}

type useKey struct {
	workload    string
	secret, key string
	account     accountName
}

type use struct {
	workload Ref
	pods     int
	held     *facts.HeldToken // nil for a projected token, or none
	kind     string
}

func (u *uses) visit(top Ref, o *listed, references []reference.Reference) {
	if u.found == nil {
		u.found, u.accounts = map[useKey]*use{}, map[accountName]int{}
	}
	own := accountName{o.Namespace, o.Pod.Spec.ServiceAccountName}
	seen := map[useKey]bool{}
	holds := map[accountName]bool{}
	note := func(key useKey, kind string, held *facts.HeldToken) {
		if key.account.name != "" {
			holds[key.account] = true
		}
		if seen[key] {
			return
		}
		seen[key] = true
		if u.found[key] == nil {
			u.found[key] = &use{workload: top, held: held, kind: kind}
		}
		u.found[key].pods++
	}
	if mountsProjected(&o.Pod.Spec) {
		note(useKey{workload: top.UID, account: own}, "projected", nil)
	}
	for i := range references {
		r := &references[i]
		if r.Kind != reference.Secret || r.Unused || (r.Use != reference.UseVolume && r.Use != reference.UseEnv && r.Use != reference.UseEnvFrom) {
			continue
		}
		secret := u.survey.held.secretOf(o.Namespace, r.Name)
		if secret == nil {
			continue
		}
		for j := range secret.Tokens {
			held := &secret.Tokens[j]
			if len(r.Keys) > 0 && !slices.ContainsFunc(r.Keys, func(k reference.Key) bool { return k.Name == held.Key }) {
				continue
			}
			account := accountName{held.Claims.Namespace, held.Claims.ServiceAccount.Name}
			if account.name == "" && secret.TokenSecret {
				account = accountName{o.Namespace, secret.Account}
			}
			note(useKey{workload: top.UID, secret: o.Namespace + "/" + r.Name, key: held.Key, account: account}, held.Claims.Kind.String(), held)
		}
	}
	for account := range holds {
		u.accounts[account]++
	}
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

// tell writes the map of tokens.
func (u *uses) tell(ctx context.Context) error {
	for key, use := range u.found {
		out := report.TokenUse{
			Workload: use.workload, Pods: use.pods, Secret: key.secret, Key: key.key, Account: key.account.String(),
			Kind: use.kind, Verdict: token.Valid.String(),
		}
		if use.held != nil {
			result, err := u.survey.verdict(ctx, use.held)
			if err != nil {
				return err
			}
			out.Verdict, out.Why = result.Verdict.String(), result.Reason.Text()
		}
		u.survey.out.Tokens = append(u.survey.out.Tokens, out)
	}
	return nil
}

// verdict says what the API server would say to a token. Objects that were not
// listed are read; a verdict that it is dead rests on live reads alone.
func (v *survey) verdict(ctx context.Context, held *facts.HeldToken) (token.Result, error) {
	var result token.Result
	for range 2 {
		var doubtful []facts.Object
		result = policy.TokenVerdict(held, func(o facts.Object) facts.Fact {
			f, sure := v.held.answer(&facts.Query{Object: o, Inside: true})
			if !sure {
				doubtful = append(doubtful, o)
			}
			return f
		}, v.Now)
		if result.Verdict == token.Valid || len(doubtful) == 0 {
			break
		}
		if err := v.confirm(ctx, v.held, v.trust, doubtful); err != nil {
			return token.Result{}, err
		}
	}
	return result, nil
}
