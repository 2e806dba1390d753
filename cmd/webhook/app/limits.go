package app

import (
	"fmt"
	"math"
	"runtime/debug"

	"k8s.io/apimachinery/pkg/api/resource"

	"tokenward.dev/tokenward/pkg/intake"
)

// validateLimits is the part of Validate about what requests may cost.
func (o *Options) validateLimits(fail func(flag, format string, args ...any)) {
	if _, err := o.limits(); err != nil {
		fail("max-inflight-bytes", "%v", err)
	}
	if o.MaxInflightReviews < 1 {
		fail("max-inflight-reviews", "%d is less than 1", o.MaxInflightReviews)
	}
}

// limits are what all requests together may cost.
func (o *Options) limits() (intake.Limits, error) {
	l := intake.Limits{Reviews: o.MaxInflightReviews}
	quantity, err := resource.ParseQuantity(o.MaxInflightBytes)
	if err != nil {
		return l, fmt.Errorf("%q is no quantity, such as 96Mi", o.MaxInflightBytes)
	}
	if l.Bytes = quantity.Value(); l.Bytes < intake.MinBytes {
		return l, fmt.Errorf("%s is less than %dMi, which the largest review needs", o.MaxInflightBytes, intake.MinBytes>>20)
	}
	return l, nil
}

// boundMemory makes the collector work harder before the limit of the container is
// reached. The runtime has taken GOMEMLIMIT from the environment, where the chart puts
// the container's limit. A sixth of that is for what the runtime does not count: the
// pages of the program itself, and what the kernel keeps for the container.
func boundMemory() {
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		debug.SetMemoryLimit(limit - limit/6)
	}
	debug.SetGCPercent(gcPercent)
}

// defaultInflightBytes is intake.DefaultBytes for people.
const defaultInflightBytes = "96Mi"

// gcPercent lets the heap grow to three times of what is in use before the collector
// runs: that of a replica is small, and would be collected every few reviews.
const gcPercent = 200
