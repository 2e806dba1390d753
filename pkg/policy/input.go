package policy

import (
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// each visits the references that a check applies to, in the order of the
// fields. What an UPDATE did not change is not visited, nor what is beyond the bound of
// a review, once toldOfBound is set.
func (in *Input) each(applies func(*reference.Reference) bool, visit func(*reference.Reference)) {
	for i := range in.References {
		if r := &in.References[i]; !r.Unchanged && applies(r) && (!in.toldOfBound || !in.isBeyond(r)) {
			visit(r)
		}
	}
}

// isBeyond reports whether the object of a reference is beyond the bound of a review.
func (in *Input) isBeyond(r *reference.Reference) bool {
	return !r.Nameless() && in.Facts.IsBeyond(in.object(r))
}

// object returns the object that a reference of this pod points at.
func (in *Input) object(r *reference.Reference) facts.Object {
	if r.Kind == reference.ClusterTrustBundle {
		return facts.Object{Kind: r.Kind, Name: r.Name, SignerName: r.SignerName, Labels: r.Labels}
	}
	return facts.Object{Kind: r.Kind, Namespace: in.Namespace, Name: r.Name}
}

// fact returns what is known of the object that a reference points at. There is no
// object without a name.
func (in *Input) fact(r *reference.Reference) facts.Fact {
	if r.Nameless() {
		return facts.Fact{State: facts.Absent, Contents: true, Fresh: true}
	}
	return in.Facts.Get(in.object(r))
}

// finding makes the finding about a reference; the verdict fills in the rest. One about
// what is beyond the bound of a review stands for all that is: no exemption for the
// object that happens to come first covers it.
func (in *Input) finding(r *reference.Reference, path string, state facts.State, text string) Finding {
	if in.isBeyond(r) {
		in.toldOfBound = true
		return Finding{Path: path, Object: facts.Object{Kind: r.Kind, Namespace: in.Namespace}, State: state, Why: facts.TooManyReferences, Message: text}
	}
	return Finding{Path: path, Object: in.object(r), State: state, Message: text}
}
