package rewrite

import (
	"strconv"

	"tokenward.dev/tokenward/pkg/policy"
)

const automountPath = "spec.automountServiceAccountToken"

// setAutomount lets the first policy that wants it set the field, and returns
// that policy.
func (p *pass) setAutomount() (holder *policy.Mutation) {
	for i := range p.wants {
		m := &p.wants[i]
		if m.Automount == nil {
			continue
		}
		c := Change{Change: ChangeAutomount, Path: automountPath, To: strconv.FormatBool(*m.Automount)}
		now := p.automount()
		if now != nil {
			c.From = strconv.FormatBool(*now)
		}
		switch {
		case holder != nil && *holder.Automount != *m.Automount:
			p.conflict(c, m, holder)
		case holder != nil:
		case now != nil && *now == *m.Automount:
			holder = m
			p.reinvoked = p.reinvoked || (p.draft.automount == nil && p.plan.owned.told() && !p.plan.owned.automount())
		default:
			holder = m
			p.draft.automount = m.Automount
			p.change(c, m)
		}
	}
	return holder
}

// automount is the pod's own word, as changed so far.
func (p *pass) automount() *bool {
	if p.draft.automount != nil {
		return p.draft.automount
	}
	return p.pod().Spec.AutomountServiceAccountToken
}

// removeTokenVolume takes away the volume that the ServiceAccount plugin added
// before the pod came here: where a policy says that the pod gets no token, and
// where the plugin would not have added it to a pod of the new account. One that
// is missing the plugin adds itself when it runs again.
func (p *pass) removeTokenVolume(automount *policy.Mutation) {
	switch {
	case automount != nil && !*automount.Automount:
		p.draft.removal = Change{Change: ChangeAutomount, Policy: automount.Policy, dryRun: automount.DryRun}
	case p.draft.accountBy != nil && p.automount() == nil && p.draft.target.Automount != nil && !*p.draft.target.Automount:
		p.draft.removal = Change{Change: ChangeAccount, Policy: p.draft.accountBy.Policy, dryRun: p.draft.accountBy.DryRun}
	default:
		// A policy that selects pods by what it changes does not match any more;
		// what it has taken away stays away with the field that it has set.
		if now := p.automount(); now == nil || *now {
			p.draft.removed = nil
		}
		return
	}
	p.draft.removed = nil
	for i := range p.pod().Spec.Volumes {
		if p.plan.owned.pluginVolume(&p.pod().Spec.Volumes[i]) {
			p.draft.removed = append(p.draft.removed, i)
		}
	}
}
