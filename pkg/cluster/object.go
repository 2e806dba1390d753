// Package cluster is where an object of an API server becomes a fact: one way to
// read an object, one to reduce it to what may be kept, and one to say what an
// error means. Indexes, lists and live reads are built on it.
//
// It imports packages facts, reference, token and trust, and nothing else of ours:
// it knows what a cluster holds, not what anybody makes of it.
package cluster

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/facts"
)

// Object is an object that exists, reduced to what facts are made of: never the
// value of a key. It is not written to once it is made.
type Object struct {
	UID, ResourceVersion string
	Deleting             time.Time
	// Contents is set if the object was read whole. Without, only what metadata
	// tells is known.
	Contents bool
	// Keys of a Secret or ConfigMap, sorted.
	Keys []string
	// Binary are those of a ConfigMap that are in binaryData.
	Binary []string
	// Labels of a Namespace, and all of it as decoded JSON without managedFields.
	Labels map[string]string
	Whole  map[string]any
	// Names of the Secrets that a SecretProviderClass makes, sorted.
	Names   []string
	Secret  *facts.Secret
	Account *facts.Account
	// KeyState is set for a signing key and for the serving certificate, which are no
	// objects of the API server: what a look at it has shown.
	KeyState *facts.State
	// Generation of the trust that the tokens of a Secret were checked with.
	Generation uint64
}

// Fact answers a query about the object. Fresh is for the caller to set.
func (o *Object) Fact(q *facts.Query) facts.Fact {
	if o.KeyState != nil {
		f := facts.Fact{State: *o.KeyState, Generation: o.Generation}
		if f.State == facts.Unknown {
			f.Why = facts.Unsettled
		}
		return f
	}
	f := facts.Fact{
		State: facts.Present, UID: o.UID, Deleting: o.Deleting, Labels: o.Labels, Whole: o.Whole, Names: o.Names,
		Generation: o.Generation, Contents: o.Contents, Secret: o.Secret, Account: o.Account,
	}
	if len(q.Keys) > 0 && o.Contents {
		f.Binary = o.Binary
		f.Keys = make(map[string]facts.State, len(q.Keys))
		for _, key := range q.Keys {
			f.Keys[key] = facts.Absent
			if o.HasKeys(key) {
				f.Keys[key] = facts.Present
			}
		}
	}
	return f
}

// HasKeys reports whether the object has all of some keys.
func (o *Object) HasKeys(keys ...string) bool {
	for _, key := range keys {
		if _, found := slices.BinarySearch(o.Keys, key); !found {
			return false
		}
	}
	return true
}

// newObject reduces an object to its metadata.
func newObject(m metav1.Object) *Object {
	// Cloned, so that nothing keeps the buffer of the answer.
	o := &Object{UID: strings.Clone(string(m.GetUID())), ResourceVersion: strings.Clone(m.GetResourceVersion())}
	if d := m.GetDeletionTimestamp(); d != nil {
		o.Deleting = d.Time
	}
	return o
}

func sortedKeys[V any](maps ...map[string]V) []string {
	var keys []string
	for _, m := range maps {
		for k := range m {
			keys = append(keys, strings.Clone(k))
		}
	}
	slices.Sort(keys)
	return keys
}
