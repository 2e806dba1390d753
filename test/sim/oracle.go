package sim

import (
	"slices"
	"time"
)

// truth is what the oracle says of a pod at an instant: it looks at the store and
// at the API servers themselves, and at nothing that the code under test made.
type truth struct {
	// good: the kubelet would start it, and every API server that answers takes
	// every token that the pod gets.
	good bool
	// bad says why the policies of the simulator must refuse the pod, or is empty.
	bad string
	// mixed: a token is taken by some API servers and refused by others.
	mixed bool
}

// The reasons for which a pod is bad.
const (
	badObject = "object" // missing, or a key of it
	badToken  = "token"  // nobody takes it, whatever the key
	badKey    = "key"    // no API server takes its signing key
	badCA     = "ca"     // the ca.crt beside it verifies no API server
)

// gracePeriod is that of the check token-secret-populated.
const gracePeriod = 30 * time.Second

// judge tells the truth of a pod. It holds no lock.
func (w *world) judge(p *podCase) truth {
	out := truth{good: true}
	for i := range p.refs {
		w.judgeRef(p, &p.refs[i], &out)
	}
	if out.bad != "" {
		out.good = false
		if p.class != "" && (p.padding > 0 || out.bad == badObject || out.bad == badToken) {
			out.bad = p.class
		}
	}
	return out
}

func (t *truth) isBad(why string) {
	if t.good = false; t.bad == "" {
		t.bad = why
	}
}

func (w *world) judgeRef(p *podCase, r *ref, out *truth) {
	o := w.store.get(id{r.resource, p.namespace, r.name})
	if o == nil {
		if !r.optional {
			out.isBad(badObject)
		}
		return
	}
	for _, key := range r.keys {
		_, ok := o.data[key]
		if !ok && r.use != useEnv {
			_, ok = o.binaryData[key] // which the environment does not get
		}
		if !ok && !r.optional {
			out.isBad(badObject)
		}
	}
	if r.resource == "secrets" {
		w.judgeTokens(o, r, out)
	}
}

// judgeTokens looks at the tokens that a pod gets by a reference.
func (w *world) judgeTokens(o *object, r *ref, out *truth) {
	gets := func(key string) bool { return len(r.keys) == 0 || slices.Contains(r.keys, key) }
	if o.typ == tokenSecretType {
		w.judgeTokenSecret(o, gets("token"), out)
		if text := o.data["ca.crt"]; len(text) > 0 && gets("ca.crt") {
			w.judgeCA(text, out)
		}
	}
	for key, value := range o.data {
		w.mu.Lock()
		t := w.tokens[string(value)]
		w.mu.Unlock()
		if t != nil && gets(key) {
			w.judgeToken(t, o.typ == tokenSecretType, out)
		}
	}
}

// judgeTokenSecret looks at the Secret itself: who it is of, and whether it is filled.
func (w *world) judgeTokenSecret(o *object, getsToken bool, out *truth) {
	account := w.store.get(id{"serviceaccounts", o.namespace, o.annotations[accountNameKey]})
	switch {
	case account == nil || account.uid != o.annotations[accountUIDKey]:
		out.isBad(badToken)
	case len(o.data["token"]) > 0 || !getsToken:
	default:
		out.good = false
		// The creation timestamp is in seconds.
		if time.Since(o.created) > gracePeriod+2*time.Second {
			out.isBad(badToken)
		}
	}
}

func (w *world) judgeToken(t *token, inTokenSecret bool, out *truth) {
	if t.foreign {
		return // not ours to call dead
	}
	// A forged token that names a key of some API servers alone: whoever has not
	// met one of these can't tell.
	if named, others := w.takers(func(k *signingKey) bool { return k.id == t.named }); named > 0 && others > 0 {
		out.good, out.mixed = false, true
		return
	}
	takes, refuses := w.takers(func(k *signingKey) bool { return k == t.key })
	if takes > 0 && refuses > 0 {
		// Nor can anybody tell who signed it who has not met such an API server lately,
		// so that whatever else is wrong with it may be unknown.
		out.good, out.mixed = false, true
		return
	}
	account := w.store.get(id{"serviceaccounts", t.namespace, t.account})
	if account == nil || account.uid != t.accountUID {
		if t.legacy && !inTokenSecret && takes == 0 {
			out.good = false // neither key nor account are ours: perhaps another cluster's
			return
		}
		out.isBad(badToken)
	}
	if t.legacy {
		holder := w.store.get(id{"secrets", t.namespace, t.secret})
		if holder == nil || string(holder.data["token"]) != t.text || holder.labels[invalidSinceKey] != "" {
			out.isBad(badToken)
		}
	} else if left := t.expires.Sub(time.Now()); left < -time.Minute-2*time.Second {
		out.isBad(badToken) // the API server takes it for a minute more
	} else if left < 0 {
		out.good = false
	}
	switch {
	case takes == 0 && refuses > 0:
		out.isBad(badKey)
	case takes == 0:
		out.good = false // no server answers
	}
}

// takers counts the API servers that answer, by whether they have such a key.
func (w *world) takers(is func(*signingKey) bool) (takes, refuses int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.servers {
		switch {
		case !s.up:
		case slices.ContainsFunc(s.keys, is):
			takes++
		default:
			refuses++
		}
	}
	return takes, refuses
}
