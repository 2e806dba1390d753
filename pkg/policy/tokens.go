package policy

import (
	"slices"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/token"
)

// held is a Secret that a reference brings into the pod, with one of the tokens
// that come with it.
type held struct {
	ref    *reference.Reference
	secret *facts.Secret
	token  *facts.HeldToken // nil where no token comes with the reference
}

// brings reports whether a key of the Secret comes with the reference: all of
// them do where it names none.
func (h *held) brings(key string) bool {
	return len(h.ref.Keys) == 0 || slices.ContainsFunc(h.ref.Keys, func(k reference.Key) bool { return k.Name == key })
}

// longLived reports whether the reference brings a token that does not expire,
// or the Secret that is to hold one.
func (h *held) longLived() bool {
	if h.secret.TokenSecret && h.brings(tokenKey) {
		return h.secret.HasToken || !h.ref.Optional
	}
	return h.token != nil && h.token.Claims.Kind == token.Legacy
}

// account returns the namespace and name of the account that the token is of, or
// will be; empty if nothing tells.
func (h *held) account(in *Input) (namespace, name string) {
	switch {
	case h.token != nil && h.token.Claims.ServiceAccount.Name != "":
		return h.token.Claims.Namespace, h.token.Claims.ServiceAccount.Name
	case h.secret.TokenSecret && h.brings(tokenKey):
		return in.Namespace, h.secret.Account
	}
	return "", ""
}

const (
	tokenKey = "token"
	caKey    = "ca.crt"
)

// fault is what a check has against a held token or its Secret.
type fault struct {
	// state is Present for what is there and wrong, Unknown where that can't be
	// told.
	state facts.State
	text  func(quote func(string) string) string
	// rests has the objects, besides the Secret, whose content the fault rests on.
	rests []facts.Object
}

func wrong(text func(quote func(string) string) string, rests ...facts.Object) *fault {
	return &fault{state: facts.Present, text: text, rests: rests}
}

// tokenCheck is the common part of the checks that look into Secrets.
type tokenCheck struct {
	id string
	// more asks for what judge looks at besides the Secret; nil for nothing.
	more func(in *Input, h *held, ask func(facts.Query))
	// judge returns what is wrong, or nil.
	judge func(in *Input, h *held) *fault
}

// hands reports whether a reference hands values of a Secret to containers.
func hands(r *reference.Reference) bool {
	return r.Kind == reference.Secret && !r.Unused &&
		(r.Use == reference.UseVolume || r.Use == reference.UseEnv || r.Use == reference.UseEnvFrom)
}

// needs asks for the Secret, then for what its tokens name, and then, where a
// fault would be found by what an index had, for all of that afresh.
func (c tokenCheck) needs(in *Input, ask func(facts.Query)) {
	handed := in.handed()
	for i := range handed {
		s := &handed[i]
		secret := facts.Query{Object: in.object(s.ref), Inside: true}
		if !s.asked && !s.fact.Inside {
			s.asked = true // for all checks
			ask(secret)
		}
		in.eachHeld(s, func(h *held) {
			if c.more != nil {
				c.more(in, h, ask)
			}
			// What is unknown leads to nothing, unless a policy denies for it.
			f := c.judge(in, h)
			if f == nil || (f.state != facts.Present && !in.unknownDenies) {
				return
			}
			secret.Fresh = true
			ask(secret)
			for _, o := range f.rests {
				ask(facts.Query{Object: o, Inside: true, Fresh: true})
			}
		})
	}
}

// find reports the first fault of each reference; what is wrong comes before
// what is unknown.
func (c tokenCheck) find(in *Input, report func(Finding)) {
	handed := in.handed()
	for i := range handed {
		s := &handed[i]
		r := s.ref
		if !s.fact.Known() {
			if provided, _ := in.provided(r); provided != facts.Present {
				f := in.finding(r, r.Path, facts.Unknown, message(c.id, func(quote func(string) string) string {
					return subject(r, quote) + " (" + r.Path + ") could not be read (" + whyText(s.fact.Why) + "), so that it was not looked into. " + whyCure(s.fact.Why)
				}))
				f.Echo = true
				report(f)
			}
			continue
		}
		state, text := facts.Absent, "" // of the first fault; Absent for none
		in.eachHeld(s, func(h *held) {
			f := c.judge(in, h)
			if f == nil || state == facts.Present || state == f.state {
				return
			}
			state, text = f.state, message(c.id, func(quote func(string) string) string {
				return subject(r, quote) + " (" + r.Path + ") " + f.text(quote)
			})
		})
		if state != facts.Absent {
			report(in.finding(r, r.Path, state, text))
		}
	}
}

// handedSecret is a reference that hands values to containers, with what is
// known of its Secret.
type handedSecret struct {
	ref   *reference.Reference
	fact  facts.Fact
	asked bool // whether a check has asked what it holds
}

// handed returns what all token checks go by. It is looked up once for all of
// them, and again when there are other facts.
func (in *Input) handed() []handedSecret {
	if !in.handedKnown {
		in.handedKnown, in.handedSecrets = true, in.handedSecrets[:0]
		in.each(hands, func(r *reference.Reference) {
			in.handedSecrets = append(in.handedSecrets, handedSecret{ref: r, fact: in.fact(r)})
		})
	}
	return in.handedSecrets
}

// use takes other facts, or the same with more in them.
func (in *Input) use(set *facts.Set) { in.Facts, in.handedKnown = set, false }

// eachHeld visits the tokens that a reference brings; of a token Secret that
// brings none, once without a token. What it hands out is good for the visit.
func (in *Input) eachHeld(s *handedSecret, visit func(*held)) {
	secret := s.fact.Secret
	if !s.fact.Known() || secret == nil || (!secret.TokenSecret && len(secret.Tokens) == 0) {
		return
	}
	found := false
	for i := range secret.Tokens {
		in.held = held{ref: s.ref, secret: secret, token: &secret.Tokens[i]}
		if in.held.brings(in.held.token.Key) {
			found = true
			visit(&in.held)
		}
	}
	if !found {
		in.held = held{ref: s.ref, secret: secret}
		visit(&in.held)
	}
}

func accountObject(namespace, name string) facts.Object {
	return facts.Object{Kind: reference.ServiceAccount, Namespace: namespace, Name: name}
}

// reissue is how a token of a token Secret is made anew under the same name. To
// delete the Secret is no cure: nobody makes it again (KEP-2799).
const reissue = "Remove data.token from the Secret: a new one is written into it."
