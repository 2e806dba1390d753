package sim

import "strings"

// knownDefects are invariants that do not hold yet, with what is to be mended.
// They are reported and fail nothing; an entry goes with its defect.
func knownDefects() map[string]string {
	const mixed = "API servers go on accepting different keys: each look that is to confirm shows another one's"
	return map[string]string{
		"replicas-differ-padded":          "as replicas-differ-ca",
		"replicas-differ-ca":              "how long a replica has run decides whether chains are all",
		"added-replica-differs-ca":        "a new replica knows nothing of the chains that were presented",
		"bad-admitted-token-mixed":        mixed,
		"replicas-differ-key-mixed":       mixed,
		"added-replica-differs-key-mixed": mixed,
		"added-replica-differs-cut":       "the same, in a message that was cut",
	}
}

// known says why an invariant is known not to hold, or nothing.
func known(invariant string) string {
	base, after := strings.CutSuffix(invariant, restored)
	for _, name := range []string{base, strings.TrimSuffix(base, "-mixed")} {
		if why := knownDefects()[name]; why != "" {
			return why
		}
	}
	if after {
		return "a watch goes on from a version that the restored etcd has reached again, and misses what came before; no client can notice"
	}
	return ""
}
