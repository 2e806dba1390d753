// Package report writes results for people and for machines: what was found in
// objects (Report), and the results of cases (TestResult). It imports package
// policy for the table of checks and its findings, and none of the packages
// that make reports.
package report

import (
	"io"
	"maps"
	"slices"
)

// TestResult is the result of one case.
type TestResult struct {
	// Name of the case: the path of its file.
	Name string `json:"name"`
	// Differences between the verdict and what the case expects; none if it passes.
	Differences []string `json:"differences,omitempty"`
	// Error says why the case could not be run, if it could not.
	Error string `json:"error,omitempty"`
}

// Failed reports whether the case ran and failed.
func (r TestResult) Failed() bool { return len(r.Differences) > 0 }

// Broken reports whether the case could not be run.
func (r TestResult) Broken() bool { return r.Error != "" }

// TestWriter writes the results of cases in one format.
type TestWriter func(io.Writer, []TestResult) error

// TestFormats returns the formats for the results of cases, by name.
func TestFormats() map[string]TestWriter {
	return map[string]TestWriter{"text": testText, "json": testJSON, "junit": testJUnit}
}

// Names returns the names of formats in order.
func Names[V any](formats map[string]V) []string { return slices.Sorted(maps.Keys(formats)) }
