package policy

import (
	"slices"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// keyExistence is the common part of the checks that want the keys of a
// referenced object to exist. An absent object raises no finding on its keys.
type keyExistence struct {
	id      string
	applies func(*reference.Reference) bool
}

func (k keyExistence) needs(in *Input, ask func(facts.Query)) {
	in.each(k.applies, func(r *reference.Reference) {
		keys := make([]string, len(r.Keys))
		for i := range r.Keys {
			keys[i] = r.Keys[i].Name
		}
		fact := in.fact(r)
		// A key that is there, but not for this reference, is asked for once more: no
		// refusal rests on what an index held.
		fresh := !fact.Fresh && slices.ContainsFunc(keys, func(key string) bool { return inBinary(r, &fact, key) })
		ask(facts.Query{Object: in.object(r), Keys: keys, Fresh: fresh})
		if r.Kind == reference.Secret && fact.State == facts.Unknown && fact.Asked() {
			in.providers.wanted = true
		}
	})
}

func (k keyExistence) find(in *Input, report func(Finding)) {
	in.each(k.applies, func(r *reference.Reference) { k.findOne(in, r, report) })
}

func (k keyExistence) findOne(in *Input, r *reference.Reference, report func(Finding)) {
	fact := in.fact(r)
	if fact.State == facts.Absent {
		return
	}
	if provided, _ := in.provided(r); fact.State == facts.Unknown && provided == facts.Present {
		return
	}
	// One finding a reference: what is absent comes before what is unknown.
	if absent := keysIn(r, &fact, facts.Absent); len(absent) > 0 {
		report(in.finding(r, absent[0].Path, facts.Absent, missingKeyText(r, absent)))
	} else if unknown := keysIn(r, &fact, facts.Unknown); len(unknown) > 0 && fact.Provided == "" {
		path := unknown[0].Path
		report(in.finding(r, path, facts.Unknown, unknownText(r, path, "the key is", fact.Why)))
	}
}

// inBinary reports whether a key is in binaryData, where the reference does not look.
func inBinary(r *reference.Reference, f *facts.Fact, key string) bool {
	if !r.DataOnly {
		return false
	}
	_, found := slices.BinarySearch(f.Binary, key)
	return found
}

// keysIn returns the keys of a reference that are in a state.
func keysIn(r *reference.Reference, f *facts.Fact, state facts.State) []reference.Key {
	var keys []reference.Key
	for _, key := range r.Keys {
		known := f.Key(key.Name)
		if inBinary(r, f, key.Name) {
			known = facts.Absent
		}
		if known == state {
			keys = append(keys, key)
		}
	}
	return keys
}
