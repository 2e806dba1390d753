// Package policysource brings policies from where they are kept to where they
// are needed: it compiles them off the request path into one immutable Snapshot
// behind an atomic pointer.
package policysource

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
)

// reloadInterval is how often a policy file is read again. Reading it is cheap,
// and sees every way in which files change, ConfigMap mounts included.
const reloadInterval = time.Second

// File takes policies from a file, and keeps the last good version.
type File struct {
	path     string
	checks   []policy.Check
	options  policy.Options
	metrics  *metrics.Metrics
	log      logr.Logger
	content  []byte
	broken   string // what is wrong with the file as it is now
	snapshot atomic.Pointer[policy.Snapshot]
}

// NewFile reads the file; an empty path means the built-in defaults alone. A
// file that does not compile is an error that names document, line and field.
func NewFile(path string, checks []policy.Check, options policy.Options, m *metrics.Metrics, log logr.Logger) (*File, error) {
	f := &File{path: path, checks: checks, options: options, metrics: m, log: log}
	if path == "" {
		f.use(nil)
		return f, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("policy file: %w", err)
	}
	return f, f.load(content)
}

// Snapshot returns the policies in force. It is never nil.
func (f *File) Snapshot() *policy.Snapshot { return f.snapshot.Load() }

// Start reloads the file when it changes, until the context ends.
func (f *File) Start(ctx context.Context) error {
	if f.path == "" {
		return nil
	}
	tick := time.NewTicker(reloadInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			f.reload()
		}
	}
}

func (f *File) reload() {
	f.metrics.ExemptionsExpired.Set(float64(f.Snapshot().ExpiredExemptions(time.Now())))
	content, err := os.ReadFile(f.path)
	if err == nil {
		if bytes.Equal(content, f.content) {
			return
		}
		err = f.load(content)
	} else {
		f.content = nil // what comes next is new
	}
	if err != nil {
		if f.broken != err.Error() {
			f.broken = err.Error()
			f.metrics.Policies.WithLabelValues("false").Set(1)
			f.log.Error(err, "The policy file can't be used; the last good version stays in force", "file", f.path)
		}
		return
	}
	f.broken = ""
	f.log.Info("Policies reloaded", "file", f.path, "policies", f.Snapshot().Policies())
}

func (f *File) load(content []byte) error {
	f.content = content
	policies, err := policy.Parse(f.path, content, f.checks)
	if err != nil {
		return err
	}
	for _, p := range policies {
		for _, w := range p.Warnings {
			f.log.Info("Policy has a part without effect", "policy", p.Name, "warning", w)
		}
	}
	f.use(policies)
	return nil
}

func (f *File) use(policies []*policy.Policy) {
	snapshot := policy.NewSnapshot(f.checks, policies, f.options)
	f.snapshot.Store(snapshot)
	f.metrics.Policies.WithLabelValues("true").Set(float64(len(policies)))
	f.metrics.Policies.WithLabelValues("false").Set(0)
	f.metrics.ExemptionsExpired.Set(float64(snapshot.ExpiredExemptions(time.Now())))
}
