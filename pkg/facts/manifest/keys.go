package manifest

import (
	"time"

	"tokenward.dev/tokenward/pkg/facts"
)

// Settle is how long ago an API server must have last published a key, or a token
// first shown it, for the key to be gone: the default of --signing-key-settle.
const Settle = 10 * time.Minute

// signingKey answers as a cluster would that has read its keys each minute.
func (c *Cluster) signingKey(id string, now time.Time) facts.Fact {
	switch {
	case !c.Keys.Complete():
		return facts.Fact{Why: facts.Unsettled}
	case c.Keys.Knows(id):
		return facts.Fact{State: facts.Present, Fresh: true}
	}
	since, published := c.LastPublished[id]
	if !published {
		since = c.FirstMet[id]
	}
	if now.Sub(since) < Settle {
		return facts.Fact{Why: facts.Unsettled}
	}
	return facts.Fact{State: facts.Absent, Fresh: true}
}
