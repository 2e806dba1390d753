package facts

import (
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/token"
)

// NamedBy visits the objects that a token names, on which its validity rests.
func NamedBy(c *token.Claims, visit func(Object)) {
	one := func(kind reference.Kind, namespace string, ref *token.Ref) {
		if ref != nil && ref.Name != "" {
			visit(Object{Kind: kind, Namespace: namespace, Name: ref.Name})
		}
	}
	one(reference.ServiceAccount, c.Namespace, &c.ServiceAccount)
	one(reference.Secret, c.Namespace, c.Secret)
	one(Pod, c.Namespace, c.Pod)
	if c.Pod == nil { // the node of a pod's token is mere information
		one(Node, "", c.Node)
	}
}

// KeyOf returns the key on which it rests whether a token is good: that of a token
// which no accepted key fits, or whose signature is not by the key that it names.
// It reports false for every other token.
func KeyOf(t *token.Checked) (Object, bool) {
	return Object{Kind: SigningKey, Name: t.SigningKey}, t.Signature.Reason == token.KeyUnsettled || t.Signature.Reason == token.BadSignature
}

// Named returns what is known of the objects that a token names.
func Named(t *SecretToken, get func(Object) Fact) token.Facts {
	c := &t.Claims
	known := func(kind reference.Kind, namespace string, ref *token.Ref) (token.Object, Fact) {
		if ref == nil || ref.Name == "" {
			return token.Object{}, Fact{}
		}
		f := get(Object{Kind: kind, Namespace: namespace, Name: ref.Name})
		if !f.Known() || f.Why == NotGiven {
			return token.Object{}, Fact{} // it may well be there
		}
		o := token.Object{State: tokenState(f.State), UID: f.UID, Deleting: f.Deleting}
		if o.UID == "" { // manifests need not give it; an API server always does
			o.UID = ref.UID
		}
		return o, f
	}
	var out token.Facts
	var secret Fact
	out.ServiceAccount, _ = known(reference.ServiceAccount, c.Namespace, &c.ServiceAccount)
	out.Secret.Object, secret = known(reference.Secret, c.Namespace, c.Secret)
	if secret.Secret != nil {
		out.Secret.TokenHash, out.Secret.InvalidSince = secret.Secret.TokenHash, secret.Secret.MarkedInvalid
	}
	if key, ok := KeyOf(&t.Checked); ok {
		out.SigningKey = tokenState(get(key).State)
	}
	out.TokenSecret = t.InTokenSecret
	out.Pod, _ = known(Pod, c.Namespace, c.Pod)
	out.Node, _ = known(Node, "", c.Node)
	return out
}

func tokenState(s State) token.State {
	switch s {
	case Present:
		return token.Present
	case Absent:
		return token.Absent
	case Unknown:
	}
	return token.NotKnown
}
