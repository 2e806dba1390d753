package policysource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/go-logr/logr"

	"tokenward.dev/tokenward/pkg/filewatch"
	"tokenward.dev/tokenward/pkg/logonce"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
)

// reloadInterval is how often a policy file is read again.
const reloadInterval = 500 * time.Millisecond

// File takes policies from a file, and keeps the last good version.
type File struct {
	publisher
	path     string
	watched  *filewatch.File // nil without a file
	failures *logonce.Failures
}

// NewFile reads the file; an empty path means the built-in defaults alone. A
// file that does not compile is an error that names document, line and field.
func NewFile(path string, compiler *policy.Compiler, options policy.Options, m *metrics.Metrics, log logr.Logger) (*File, error) {
	f := &File{publisher: publisher{compiler: compiler, options: options, metrics: m, log: log}, path: path, failures: logonce.New(log)}
	if path == "" {
		f.publish(nil, 0)
		return f, nil
	}
	var err error
	var unreadable *fs.PathError
	if f.watched, err = filewatch.Read(path, f.load); errors.As(err, &unreadable) {
		return nil, fmt.Errorf("policy file: %w", err)
	}
	return f, err
}

// Synced implements Source: a file is read before there is a File.
func (f *File) Synced() bool { return true }

// Lead implements Source: a file has no status to write.
func (f *File) Lead(context.Context) error { return nil }

// Start reloads the file when it changes, until the context ends.
func (f *File) Start(ctx context.Context) error {
	if f.watched != nil {
		f.watched.Follow(ctx, reloadInterval, f.report)
	}
	return nil
}

// report tells what a look at the file came to.
func (f *File) report(news bool, err error) {
	f.countExpired()
	if !news {
		return
	}
	if f.failures.Report("load", err, "The policy file can't be used; the last good version stays in force", "file", f.path) {
		f.metrics.Policies.WithLabelValues("false").Set(1)
	}
	if err == nil {
		f.log.Info("Policies reloaded", "file", f.path, "policies", f.Snapshot().Policies())
	}
}

func (f *File) load(content []byte) error {
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
