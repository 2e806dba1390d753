package sim

// knownDefects are invariants that do not hold yet, with what is to be mended.
// They are reported and fail nothing; an entry goes with its defect.
func knownDefects() map[string]string {
	return map[string]string{
		"good-refused-foreign":    "another cluster's legacy token in an Opaque Secret is called dead",
		"good-refused-key":        "a key that is newer than the last refresh is called gone",
		"bad-admitted-key":        "nothing is gone while API servers publish different keys",
		"bad-admitted-debug":      "an optional volume that an ephemeral container mounts is not judged",
		"bad-admitted-binary":     "the environment's configMapKeyRef is looked for in binaryData",
		"bad-admitted-padded":     "optional references spend the reads that confirm a refusal",
		"reads-good":              "after a restore of etcd a cache keeps what is newer than the list, and looks it up each time",
		"replicas-differ-foreign": "the same as replicas-differ-key",
		"replicas-differ-key":     "how long a replica has run decides what is gone",

		"added-replica-differs-key":     "a new replica knows nothing of keys that were published before",
		"added-replica-differs-foreign": "the same, of a key that never was",
		"reads-good-strict":             "onUnknown: Deny reads whole Secrets for each good pod",
		"good-refused-ca":               "a chain that is newer than the last refresh: a ca.crt is called stale",
		"replicas-differ-ca":            "how long a replica has run decides whether chains are all",
		"replicas-differ-padded":        "the same as bad-admitted-padded and replicas-differ-ca",
		"added-replica-differs-ca":      "a new replica knows nothing of the chains that were presented",
		"replicas-differ-object":        "after a restore of etcd a cache keeps the keys that an object had in a later version",
		"added-replica-differs-object":  "the same as replicas-differ-object",
		"leftover":                      "watch.Filter leaves a goroutine behind when a watch is stopped while it passes an event on",
	}
}
