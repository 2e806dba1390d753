package usage

import (
	"cmp"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/facts"
)

// Dependent is a workload that depends on an object: the top-level owner of pods, with
// those of its pods and templates that do.
type Dependent struct {
	Kind, Namespace, Name string
	// Users are templates first.
	Users []*User
}

// String returns the workload as findings name it: "Deployment shop/web".
func (d *Dependent) String() string { return d.Kind + " " + d.Namespace + "/" + d.Name }

// Pods returns how many of its pods depend on the object.
func (d *Dependent) Pods() int {
	n := 0
	for _, u := range d.Users {
		if !u.Pod.Template {
			n++
		}
	}
	return n
}

// Dependents returns who depends on one of some objects, sorted by kind and name: pods
// that have not ended, and templates that pods will still be made from, where a
// reference is not optional or also says so.
func (u *Users) Dependents(also func(*User) bool, objects ...facts.Object) []Dependent {
	direct := map[*User]bool{}
	for _, o := range objects {
		for i := range u.uses[o] {
			if use := &u.uses[o][i]; use.Reference.Required() {
				direct[use.User] = true
			}
		}
	}
	var out []Dependent
	places := map[types.UID]int{}
	for _, user := range u.all {
		if user.Finished || user.Idle || (!direct[user] && !also(user)) {
			continue
		}
		top, uid := u.top(user)
		i, known := places[uid]
		if !known {
			i = len(out)
			places[uid], out = i, append(out, top)
		}
		out[i].Users = append(out[i].Users, user)
	}
	slices.SortFunc(out, func(a, b Dependent) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	for i := range out {
		slices.SortFunc(out[i].Users, func(a, b *User) int {
			return cmp.Or(-compareBool(a.Pod.Template, b.Pod.Template), cmp.Compare(a.Kind.Kind, b.Kind.Kind), cmp.Compare(a.Name, b.Name))
		})
	}
	return out
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// maxOwners bounds a chain of owners: nothing forbids a circle.
const maxOwners = 8

// wellFormed is what a kind and a name look like. Anybody can write anything into an
// ownerReference.
var (
	kind = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,62}$`)
	name = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$`)
)

// top returns the last in the chain of controllers of a user that can be followed.
func (u *Users) top(user *User) (Dependent, types.UID) {
	out, uid := Dependent{Kind: user.Kind.Kind, Namespace: user.Namespace, Name: user.Name}, user.UID
	for c, n := user.Controller, 0; c != nil && n < maxOwners && kind.MatchString(c.Kind) && name.MatchString(c.Name); n++ {
		out.Kind, out.Name, uid = c.Kind, c.Name, c.UID
		c = u.controllers[c.UID]
	}
	return out, uid
}
