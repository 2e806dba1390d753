// Package policysource brings policies from where they are kept to where they
// are needed: it compiles them off the request path into one immutable Snapshot
// behind an atomic pointer. They are kept in a file (File) or in the API server
// (Cluster), and compiled in the same way.
//
// Of ours it imports packages apis, filewatch, logonce, metrics and policy.
package policysource

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
)

// Source is where policies come from.
type Source interface {
	// Snapshot returns the policies in force. It is never nil.
	Snapshot() *policy.Snapshot
	// Synced reports whether the policies have been read. Before that nothing
	// may be judged.
	Synced() bool
	// Start follows changes until the context ends.
	Start(ctx context.Context) error
	// Lead does, until the context ends, what one replica does for all.
	Lead(ctx context.Context) error
}

// publisher holds the snapshot that reviews use, and replaces it.
type publisher struct {
	compiler *policy.Compiler
	options  policy.Options
	metrics  *metrics.Metrics
	log      logr.Logger
	snapshot atomic.Pointer[policy.Snapshot]
}

// Snapshot implements Source.
func (f *publisher) Snapshot() *policy.Snapshot { return f.snapshot.Load() }

// publish puts policies in force, of which some are not ready: not whole.
func (f *publisher) publish(policies []*policy.Policy, notReady int) {
	f.snapshot.Store(policy.NewSnapshot(f.compiler.Checks(), policies, f.options))
	f.metrics.Policies.WithLabelValues("true").Set(float64(len(policies) - notReady))
	f.metrics.Policies.WithLabelValues("false").Set(float64(notReady))
	f.countExpired()
}

func (f *publisher) countExpired() {
	f.metrics.ExemptionsExpired.Set(float64(f.Snapshot().ExpiredExemptions(time.Now())))
}
