package sim

import "strings"

// known says why an invariant can't hold, or nothing. What it names is reported and
// fails nothing.
func known(invariant string) string {
	switch base, after := strings.CutSuffix(invariant, unnoticed); {
	case base == "added-replica-differs-"+badObject:
		return "what an index has whose watch is silent counts as present where no read may be made; a new replica has no such index"
	case after:
		return "etcd was restored without its versions bumped, and had reached a version again that a watch goes on from; no client can notice"
	}
	return ""
}
