package policy

import (
	"slices"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/token"
)

// tokenUse is a Secret that a reference brings into the pod, with one of the
// tokens that come with it.
type tokenUse struct {
	ref    *reference.Reference
	secret *facts.Secret
	token  *facts.SecretToken // nil where no token comes with the reference
}

// brings reports whether a key of the Secret comes with the reference: all of
// them do where it names none.
func (u tokenUse) brings(key string) bool {
	return len(u.ref.Keys) == 0 || slices.ContainsFunc(u.ref.Keys, func(k reference.Key) bool { return k.Name == key })
}

// longLived reports whether the reference brings a token that does not expire,
// or the Secret that is to hold one.
func (u tokenUse) longLived() bool {
	if u.secret.TokenSecret && u.brings(tokenKey) {
		return u.secret.HasToken || !u.ref.Optional
	}
	return u.token != nil && u.token.Claims.Kind == token.Legacy
}

// account returns the namespace and name of the account that the token is of, or
// will be; empty if nothing tells.
func (u tokenUse) account(in *Input) (namespace, name string) {
	switch {
	case u.token != nil && u.token.Claims.ServiceAccount.Name != "":
		return u.token.Claims.Namespace, u.token.Claims.ServiceAccount.Name
	case u.secret.TokenSecret && u.brings(tokenKey):
		return in.Namespace, u.secret.Account
	}
	return "", ""
}

const (
	tokenKey = "token"
	caKey    = "ca.crt"
)

// fault is what a check has against a token or its Secret.
type fault struct {
	// state is Present for what is there and wrong, Unknown where nobody knows.
	state facts.State
	// why it is unknown, where it is the caller's own doing.
	why  facts.Why
	text func(quote func(string) string) string
	// rests has the objects, besides the Secret, whose content the fault rests on.
	rests []facts.Object
	// looks has what of the API server itself the fault rests on: a signing key, the
	// serving certificate. What a Secret holds is judged by it, so that it is looked
	// at again before the Secret is.
	looks []facts.Object
}

func (f *fault) after(looks ...facts.Object) *fault {
	f.looks = looks
	return f
}

// confirmed asks for the looks that a fault rests on, and reports whether they have
// been made since the request arrived.
func (f *fault) confirmed(in *Input, ask func(facts.Query)) bool {
	all := true
	for _, o := range f.looks {
		if known := in.Facts.Get(o); !isFresh(&known) {
			ask(facts.Query{Object: o, Fresh: true})
			all = false
		}
	}
	return all
}

// shown returns the generation of what the looks have shown.
func (f *fault) shown(in *Input) (generation uint64) {
	for _, o := range f.looks {
		generation = max(generation, in.Facts.Get(o).Generation)
	}
	return generation
}

// unconfirmed returns why what the fault rests on was not learned afresh, if it was
// not: no refusal rests on what an index held.
func (f *fault) unconfirmed(in *Input, secret *facts.Fact) (facts.Why, bool) {
	for _, o := range slices.Concat(f.looks, f.rests) {
		if known := in.Facts.Get(o); !isFresh(&known) {
			return known.Why, true
		}
	}
	if f.shown(in) > secret.Generation { // the Secret was judged by less
		return facts.Unsettled, true
	}
	return secret.Why, !isFresh(secret)
}

// isFresh reports whether a fact was learned since the request arrived. What is
// absent always was.
func isFresh(f *facts.Fact) bool { return f.Fresh || f.State == facts.Absent }

func wrong(text func(quote func(string) string) string, rests ...facts.Object) *fault {
	return &fault{state: facts.Present, text: text, rests: rests}
}

// tokenCheck is the common part of the checks that look into Secrets.
type tokenCheck struct {
	id string
	// needsMore asks for what judge looks at besides the Secret; nil for nothing.
	needsMore func(in *Input, u tokenUse, ask func(facts.Query))
	// judge returns what is wrong, or nil.
	judge func(in *Input, u tokenUse) *fault
}

// handsOut reports whether a reference hands values of a Secret to containers.
func handsOut(r *reference.Reference) bool {
	return r.Kind == reference.Secret && !r.Unused &&
		(r.Use == reference.UseVolume || r.Use == reference.UseEnv || r.Use == reference.UseEnvFrom)
}

// UsedSecret is a reference that hands values of a Secret to containers, with
// what is known of the Secret.
type UsedSecret struct {
	Reference *reference.Reference
	Fact      facts.Fact
}

// usedSecrets appends the Secrets that the pod hands to containers. Of those beyond the
// bound of a review the first stands for all.
func (in *Input) usedSecrets(to []UsedSecret) []UsedSecret {
	in.each(handsOut, func(r *reference.Reference) {
		in.toldOfBound = in.toldOfBound || in.isBeyond(r)
		to = append(to, UsedSecret{Reference: r, Fact: in.fact(r)})
	})
	return to
}

// askSecrets asks what those Secrets hold. Unless refuses says that pods may be
// refused for it, nobody looks at the API server for an optional Secret that an index
// lacks.
func (in *Input) askSecrets(ask func(facts.Query), refuses bool) {
	for i := range in.Secrets {
		if s := &in.Secrets[i]; !s.Fact.Contents {
			ask(facts.Query{Object: in.object(s.Reference), Contents: true, IfIndexed: s.Reference.Optional && !refuses})
		}
	}
}

// needs asks for what the tokens name and then, where a fault would be found by
// what an index had, for all of that afresh.
func (c tokenCheck) needs(in *Input, ask func(facts.Query)) {
	for i := range in.Secrets {
		s := &in.Secrets[i]
		s.eachToken(func(u tokenUse) {
			if !c.askMore(in, u, ask) {
				return
			}
			// What is unknown leads to nothing, unless a policy denies for it.
			f := c.judge(in, u)
			if f == nil || (f.state != facts.Present && !in.UnknownDenies) || !f.confirmed(in, ask) {
				return
			}
			ask(facts.Query{Object: in.object(s.Reference), Contents: true, Fresh: true, Generation: f.shown(in)})
			for _, o := range f.rests {
				ask(facts.Query{Object: o, Contents: true, Fresh: true})
			}
		})
	}
}

// askMore asks for what judge looks at besides the Secret. It reports false while
// some of that was not asked before: what nobody has looked up is not unknown.
func (c tokenCheck) askMore(in *Input, u tokenUse, ask func(facts.Query)) (all bool) {
	all = true
	if c.needsMore != nil {
		c.needsMore(in, u, func(q facts.Query) {
			known := in.Facts.Get(q.Object)
			all = all && known.Asked()
			ask(q)
		})
	}
	return all
}

// fault returns what is wrong, as far as it has been confirmed.
func (c tokenCheck) fault(in *Input, s *UsedSecret, u tokenUse) *fault {
	f := c.judge(in, u)
	if f == nil {
		return nil
	}
	if f.state != facts.Present {
		f.why = c.callersDoing(in, u)
		return f
	}
	if why, yes := f.unconfirmed(in, &s.Fact); yes {
		return &fault{state: facts.Unknown, why: why, text: func(_ func(string) string) string {
			return "could not be judged by what the API server shows now (" + whyText(why) + "). " + whyCure(why)
		}}
	}
	return f
}

// callersDoing returns why it could not be found out what judge looks at besides the
// Secret, if that is the caller's own doing.
func (c tokenCheck) callersDoing(in *Input, u tokenUse) (why facts.Why) {
	if c.needsMore != nil {
		c.needsMore(in, u, func(q facts.Query) {
			if known := in.Facts.Get(q.Object); known.Why.IsCallersDoing() {
				why = known.Why
			}
		})
	}
	return why
}

// find reports the first fault of each reference; what is wrong comes before
// what is unknown.
func (c tokenCheck) find(in *Input, report func(Finding)) {
	for i := range in.Secrets {
		s := &in.Secrets[i]
		if !s.Fact.Known() {
			c.findUnread(in, s, report)
			continue
		}
		r := s.Reference
		state, why, text := facts.Absent, facts.NoReason, "" // of the first fault; Absent for none
		s.eachToken(func(u tokenUse) {
			f := c.fault(in, s, u)
			if f == nil || state == facts.Present || state == f.state {
				return
			}
			state, why, text = f.state, f.why, message(func(quote func(string) string) string {
				return subject(r, quote) + " (" + r.Path + ") " + f.text(quote)
			})
		})
		if state != facts.Absent {
			found := in.finding(r, r.Path, state, text)
			found.Why = why
			report(found)
		}
	}
}

// findUnread reports a Secret that could not be read, unless it is known what
// will make it. Who may say what will make it must not be the one who kept it from
// being read.
func (c tokenCheck) findUnread(in *Input, s *UsedSecret, report func(Finding)) {
	r := s.Reference
	if provided, _ := in.provided(r); provided == facts.Present && !s.Fact.Why.IsCallersDoing() {
		return
	}
	f := in.finding(r, r.Path, facts.Unknown, message(func(quote func(string) string) string {
		return subject(r, quote) + " (" + r.Path + ") could not be read (" + whyText(s.Fact.Why) + "), so that it was not looked into. " + whyCure(s.Fact.Why)
	}))
	f.Echo = true
	report(f)
}

// eachToken visits the tokens that a reference brings; a token Secret that brings
// none is visited once, without a token.
func (s *UsedSecret) eachToken(visit func(tokenUse)) {
	secret := s.Fact.Secret
	if !s.Fact.Known() || secret == nil || (!secret.TokenSecret && len(secret.Tokens) == 0) {
		return
	}
	found := false
	for i := range secret.Tokens {
		u := tokenUse{ref: s.Reference, secret: secret, token: &secret.Tokens[i]}
		if u.brings(u.token.Key) {
			found = true
			visit(u)
		}
	}
	if !found {
		visit(tokenUse{ref: s.Reference, secret: secret})
	}
}

func accountObject(namespace, name string) facts.Object {
	return facts.Object{Kind: reference.ServiceAccount, Namespace: namespace, Name: name}
}

// reissue is how a token of a token Secret is made anew under the same name. To
// delete the Secret is no cure: nobody makes it again (KEP-2799).
const reissue = "Remove data.token from the Secret: a new one is written into it."
