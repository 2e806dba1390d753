package sim

import "strings"

// knownDefects are invariants that do not hold yet, with what is to be mended.
// They are reported and fail nothing; an entry goes with its defect.
func knownDefects() map[string]string {
	return map[string]string{
		"good-refused-ca":           "a chain that is newer than the last refresh: a ca.crt is called stale",
		"bad-admitted-key":          "token-valid does not ask yet whether a key is gone",
		"bad-admitted-binary":       "the environment's configMapKeyRef is looked for in binaryData",
		"bad-admitted-padded":       "optional references spend the reads that confirm a refusal",
		"replicas-differ-padded":    "the same, and replicas-differ-ca",
		"replicas-differ-ca":        "how long a replica has run decides whether chains are all",
		"added-replica-differs-ca":  "a new replica knows nothing of the chains that were presented",
		"added-replica-differs-cut": "the same, in a message that was cut",
		"reads-good-strict":         "onUnknown: Deny reads whole Secrets for each good pod",
		"leftover":                  "watch.Filter leaves a goroutine behind when a watch is stopped while it passes an event on",
	}
}

// known says why an invariant is known not to hold, or nothing.
func known(invariant string) string {
	base, after := strings.CutSuffix(invariant, restored)
	if why := knownDefects()[base]; why != "" {
		return why
	}
	if after {
		return "a watch goes on from a version that the restored etcd has reached again, and misses what came before; no client can notice"
	}
	return ""
}
