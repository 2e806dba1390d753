package rewrite

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/reference"
)

const accountPath = "spec.serviceAccountName"

// setAccount lets the first policy that wants an account have it.
func (p *pass) setAccount() {
	var holder *policy.Mutation
	came := p.draft.account
	for i := range p.wants {
		m := &p.wants[i]
		if m.ServiceAccount == "" || m.Exempts(reference.ServiceAccount, m.ServiceAccount) || (!m.Always && !p.unset(came, m.ServiceAccount)) {
			continue
		}
		switch {
		case holder != nil && holder.ServiceAccount != m.ServiceAccount:
			p.conflict(p.accountChange(m.ServiceAccount), m, holder)
		case holder != nil:
		case p.draft.account == m.ServiceAccount:
			holder = m
			p.reinvoked = p.reinvoked || (p.draft.accountBy == nil && m.ServiceAccount != reference.DefaultAccount && p.clientSetNone())
		case p.tryAccount(m):
			holder = m
		}
	}
}

func (p *pass) accountChange(to string) Change {
	return Change{Change: ChangeAccount, Path: accountPath, From: p.draft.account, To: to}
}

// unset reports whether the client named no account. The pod came to this pass
// with one all the same: default, or the one that we have set before.
func (p *pass) unset(came, target string) bool {
	return (came == reference.DefaultAccount || came == target) && !p.plan.owned.account()
}

func (p *pass) clientSetNone() bool { return p.plan.owned.told() && !p.plan.owned.account() }

func (p *pass) lookAccount(name string) facts.Fact {
	return p.look(facts.Query{Object: facts.Object{Kind: reference.ServiceAccount, Namespace: p.namespace(), Name: name}, Contents: true})
}

// tryAccount changes the account, if the ServiceAccount plugin will be content.
func (p *pass) tryAccount(m *policy.Mutation) bool {
	// What the pod came with is from the account that it came with.
	target, old := p.lookAccount(m.ServiceAccount), p.lookAccount(p.pod().Spec.ServiceAccountName)
	if p.open {
		return false
	}
	left := func(why, cure string) bool {
		p.leave(p.accountChange(m.ServiceAccount), m, why, policy.Message(func(quote func(string) string) string {
			return "TokenPolicy " + quote(m.Policy) + " can't set " + accountPath + " to " + quote(m.ServiceAccount) + ": that account " + why + ". " + cure
		}))
		return false
	}
	switch {
	case target.State == facts.Absent:
		return left("does not exist", "Create it, or correct the policy.")
	case !target.Known() || target.Account == nil:
		return left("could not be read", "Try again; see Tokenward's log.")
	case !old.Known() || old.Account == nil:
		old.Account = &facts.Account{} // nothing is known to come from it
	}
	next := p.draft
	next.account, next.accountBy, next.target = m.ServiceAccount, m, target.Account
	next.replacePullSecrets(&p.plan.owned, p.pod(), old.Account, target.Account)
	if path := next.forbidden(p.pod()); path != "" {
		return left("admits only what it lists, and not "+path+" (enforce-mountable-secrets)", "Add that to the account.")
	}
	p.change(p.accountChange(m.ServiceAccount), m)
	p.draft = next
	return true
}

// replacePullSecrets takes away what the ServiceAccount plugin copied from the
// old account, and puts what it would have copied from the new one in its
// place. The plugin copies the whole list, and only into a pod that has none: a
// pod that brings pull secrets of its own gets none from any account.
func (d *draft) replacePullSecrets(o *owned, pod *corev1.Pod, old, target *facts.Account) {
	d.pullDrop, d.pullAdd = 0, nil
	var names []string
	for i := range pod.Spec.ImagePullSecrets {
		names = append(names, pod.Spec.ImagePullSecrets[i].Name)
	}
	copied := len(old.PullSecrets) > 0 && len(names) >= len(old.PullSecrets) && slices.Equal(names[:len(old.PullSecrets)], old.PullSecrets)
	if slices.Equal(old.PullSecrets, target.PullSecrets) || slices.ContainsFunc(names, o.pullSecret) || (len(names) > 0 && !copied) {
		return
	}
	if copied {
		d.pullDrop = len(old.PullSecrets)
	}
	stays := setOf(names[d.pullDrop:])
	for _, name := range target.PullSecrets {
		if !stays[name] {
			d.pullAdd = append(d.pullAdd, name)
		}
	}
}

// forbidden returns the field for which the ServiceAccount plugin would refuse
// the pod, or "": the account lists the Secrets that its pods may use. What is
// looked at is what the plugin looks at (limitSecretReferences).
func (d *draft) forbidden(pod *corev1.Pod) string {
	if !d.target.EnforceMountable {
		return ""
	}
	mountable, pulls := setOf(d.target.Mountable), setOf(d.target.PullSecrets)
	for i := range pod.Spec.Volumes {
		if s := pod.Spec.Volumes[i].Secret; s != nil && d.projected[i] == nil && !mountable[s.SecretName] {
			return at("spec.volumes", i) + ".secret"
		}
	}
	refs := reference.OfPod("", &pod.Spec)
	for i := range refs {
		// The plugin passes over ephemeral containers when a pod is created.
		inEnv := refs[i].Use == reference.UseEnv || refs[i].Use == reference.UseEnvFrom
		if refs[i].Kind == reference.Secret && inEnv && !mountable[refs[i].Name] && !strings.HasPrefix(refs[i].Path, "spec.ephemeral") {
			return refs[i].Path
		}
	}
	for i := range pod.Spec.ImagePullSecrets {
		if i >= d.pullDrop && !pulls[pod.Spec.ImagePullSecrets[i].Name] {
			return at("spec.imagePullSecrets", i)
		}
	}
	return ""
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

func at(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }
