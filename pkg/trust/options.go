package trust

import (
	"time"

	"tokenward.dev/tokenward/pkg/token"
)

// Options say by which keys tokens are verified.
type Options struct {
	// Keys and Issuers beside those that the API server publishes.
	Keys    []token.Key
	Issuers []string
	// Partial is set where the API server keeps keys out of what it publishes.
	Partial bool
	// Refresh is how often the keys are read; DefaultRefresh if zero.
	Refresh time.Duration
	// Settle is for how long refreshes must agree that a key is gone; DefaultSettle
	// if zero.
	Settle time.Duration
	// Record is where replicas share what they have learned; nil if they do not.
	Record Record
}

// What Options are where they are zero.
const (
	DefaultRefresh = time.Minute
	DefaultSettle  = 10 * time.Minute
)

func (o *Options) fillIn() {
	if o.Refresh == 0 {
		o.Refresh = DefaultRefresh
	}
	if o.Settle == 0 {
		o.Settle = DefaultSettle
	}
}
