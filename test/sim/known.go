package sim

import "strings"

// knownDefects are invariants that do not hold yet, with what is to be mended.
// They are reported and fail nothing; an entry goes with its defect.
func knownDefects() map[string]string {
	return map[string]string{
		"bad-admitted-padded":    "optional references spend the reads that confirm a refusal",
		"replicas-differ-padded": "the same",
	}
}

// known says why an invariant is known not to hold, or nothing.
func known(invariant string) string {
	base, after := strings.CutSuffix(invariant, unnoticed)
	if why := knownDefects()[base]; why != "" {
		return why
	}
	if after {
		return "etcd was restored without its versions bumped, and had reached a version again that a watch goes on from; no client can notice"
	}
	return ""
}
