// Package filewatch reads a file again when it changes. It reads the file at an
// interval instead of watching it: that is cheap, and sees every way in which
// files change, mounts of ConfigMaps and Secrets included.
//
// It is at the bottom: it imports none of ours.
package filewatch

import (
	"bytes"
	"context"
	"os"
	"time"
)

// File is a file that is read again when it changes. It is for one goroutine.
type File struct {
	path string
	// use puts a content in force, or says what is wrong with it.
	use func([]byte) error
	// used was given to use last, good or not; seen was read last.
	used, seen []byte
}

// Read reads the file and uses it.
func Read(path string, use func([]byte) error) (*File, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, use: use, used: content, seen: content}
	return f, use(content)
}

// Check reads the file, and uses it if it has changed, but not while it is being
// written: only what two calls in a row have read is used. It reports whether
// there is news; the error says what is wrong with it. A file that can't be read
// is always news, and counts as changed when it is back.
func (f *File) Check() (news bool, err error) {
	content, err := os.ReadFile(f.path)
	if err != nil {
		f.used, f.seen = nil, nil
		return true, err
	}
	settled := f.seen != nil && bytes.Equal(content, f.seen)
	f.seen = content
	if !settled || f.used != nil && bytes.Equal(content, f.used) {
		return false, nil
	}
	f.used = content
	return true, f.use(content)
}

// Follow checks the file at an interval until the context ends, and calls report
// with what each Check returned.
func (f *File) Follow(ctx context.Context, interval time.Duration, report func(news bool, err error)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			report(f.Check())
		}
	}
}
