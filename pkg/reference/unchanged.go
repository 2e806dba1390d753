package reference

import (
	"strconv"
	"strings"
)

// MarkUnchanged sets Unchanged on the references of an object that an UPDATE left
// as they were, given those of the object before the UPDATE. A reference is as it
// was if it asks for the same thing in the same way; whether it is optional and
// whether a container mounts it count each by itself. It may have moved: each old
// reference accounts for one new one, at its own path if that is the same.
func MarkUnchanged(now, old []Reference) {
	unmatched := make(map[identity]int, len(old))
	byPath := make(map[string]identity, len(old))
	for i := range old {
		id := old[i].identity()
		unmatched[id]++
		byPath[old[i].Path] = id
	}
	ids := make([]identity, len(now))
	for i := range now {
		ids[i] = now[i].identity()
		if id, ok := byPath[now[i].Path]; ok && id == ids[i] {
			now[i].Unchanged = true
			unmatched[id]--
		}
	}
	for i := range now {
		if !now[i].Unchanged && unmatched[ids[i]] > 0 {
			now[i].Unchanged = true
			unmatched[ids[i]]--
		}
	}
}

// identity has all that tells a reference from others, but its path.
type identity struct {
	kind                           Kind
	name, signerName, labels, keys string
	use                            Use
	optional, unused               bool
}

func (r *Reference) identity() identity {
	var keys strings.Builder
	for i := range r.Keys {
		// The length keeps one odd name from looking like two names.
		keys.WriteString(strconv.Itoa(len(r.Keys[i].Name)) + ":" + r.Keys[i].Name)
	}
	return identity{
		kind: r.Kind, name: r.Name, signerName: r.SignerName, labels: r.Labels, keys: keys.String(),
		use: r.Use, optional: r.Optional, unused: r.Unused,
	}
}
