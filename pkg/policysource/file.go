package policysource

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/go-logr/logr"

	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
)

// reloadInterval is how often a policy file is read again. Reading it is cheap,
// and sees every way in which files change, ConfigMap mounts included.
const reloadInterval = 500 * time.Millisecond

// File takes policies from a file, and keeps the last good version.
type File struct {
	publisher
	path    string
	content []byte // that was loaded last
	seen    []byte // that was seen last: a file that is being written is not read
	problem string // what is wrong with the file as it is now
}

// NewFile reads the file; an empty path means the built-in defaults alone. A
// file that does not compile is an error that names document, line and field.
func NewFile(path string, compiler *policy.Compiler, options policy.Options, m *metrics.Metrics, log logr.Logger) (*File, error) {
	f := &File{publisher: publisher{compiler: compiler, options: options, metrics: m, log: log}, path: path}
	if path == "" {
		f.publish(nil, 0)
		return f, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("policy file: %w", err)
	}
	return f, f.load(content)
}

// Synced implements Source: a file is read before there is a File.
func (f *File) Synced() bool { return true }

// Lead implements Source: a file has no status to write.
func (f *File) Lead(context.Context) error { return nil }

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
	f.countExpired()
	content, err := os.ReadFile(f.path)
	if err == nil {
		settled := bytes.Equal(content, f.seen)
		f.seen = content
		if !settled || bytes.Equal(content, f.content) {
			return
		}
		err = f.load(content)
	} else {
		f.content = nil // what comes next is new
	}
	if err != nil {
		if f.problem != err.Error() {
			f.problem = err.Error()
			f.metrics.Policies.WithLabelValues("false").Set(1)
			f.log.Error(err, "The policy file can't be used; the last good version stays in force", "file", f.path)
		}
		return
	}
	f.problem = ""
	f.log.Info("Policies reloaded", "file", f.path, "policies", f.Snapshot().Policies())
}

func (f *File) load(content []byte) error {
	f.content = content
	policies, err := f.compiler.Parse(f.path, content)
	if err != nil {
		return err
	}
	if f.Snapshot() != nil && f.Snapshot().Policies() > 0 && len(policies) == 0 {
		return fmt.Errorf("%s: has no policy any more; to go without policies restart without --policy-file", f.path)
	}
	for _, p := range policies {
		for _, w := range slices.Concat(p.Warnings, p.Expired(time.Now())) {
			f.log.Info("Policy has a part without effect", "policy", p.Name, "warning", w)
		}
	}
	f.publish(policies, 0)
	return nil
}
