// Package logonce logs a failure that goes on once, and again only when its text
// changes or after it was over: a retry each second fills no log.
//
// It is at the bottom: it imports none of ours.
package logonce

import (
	"sync"

	"github.com/go-logr/logr"
)

// Failures remembers what was logged last of each kind of failure. It may be used
// from several goroutines.
type Failures struct {
	log  logr.Logger
	mu   sync.Mutex
	last map[string]string
}

// New returns one that has logged nothing yet.
func New(log logr.Logger) *Failures {
	return &Failures{log: log, last: map[string]string{}}
}

// Report logs an error, unless it is the same as the last one of its kind, and
// reports whether it did. A nil error means that the failure is over.
func (f *Failures) Report(kind string, err error, message string, keysAndValues ...any) bool {
	f.mu.Lock()
	if err == nil {
		delete(f.last, kind)
		f.mu.Unlock()
		return false
	}
	text := err.Error()
	last, failing := f.last[kind]
	f.last[kind] = text
	f.mu.Unlock()
	if failing && last == text {
		return false
	}
	f.log.Error(err, message, keysAndValues...)
	return true
}
