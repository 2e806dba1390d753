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
		"leftover":                      "watch.Filter leaves a goroutine behind when a watch is stopped while it passes an event on",
	}
}
