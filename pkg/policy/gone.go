package policy

import (
	"slices"
	"strconv"

	"tokenward.dev/tokenward/pkg/reference"
)

// who names the workload that depends on the object: `Deployment "web" (3 pods)`.
func (g *Gone) who(quote func(string) string) string {
	who := g.Dependent.Kind + " " + quote(g.Dependent.Name)
	switch n := g.Dependent.Pods(); {
	case g.Dependent.Kind == "Pod" && n == 1:
		return who
	case n == 1:
		return who + " (1 pod)"
	case n == 0:
		return who + " (no pod now)"
	default:
		return who + " (" + strconv.Itoa(n) + " pods)"
	}
}

// onlyOf leaves of the references of a pod those that have to do with the object.
func (g *Gone) onlyOf(references []reference.Reference) []reference.Reference {
	return slices.DeleteFunc(references, func(r reference.Reference) bool {
		switch r.Kind {
		case g.Kind:
			return r.Name != g.Name
		case reference.SecretProviderClass: // may make the Secret
			return g.Kind != reference.Secret
		case reference.Secret:
			return !slices.Contains(g.TokenSecrets, r.Name)
		default:
			return true
		}
	})
}
