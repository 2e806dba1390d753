// Package report writes results for people and for machines: what was found in
// objects (Report), in a cluster (Audit), and the results of cases (TestResult).
//
// It imports packages apis and facts for words, policy for the table of checks and
// its findings, and printable; and none of the packages that make reports.
package report

import (
	"io"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

// Options say how to write a report.
type Options struct {
	// Colour is for terminals alone.
	Colour bool
	// FailOn is from which action on a finding is a failure (JUnit); Warn if empty,
	// and None for none.
	FailOn v1alpha1.Action
	// Version of the program, for formats that tell it; may be empty.
	Version string
}

// Writer writes results in one format.
type Writer[T any] func(io.Writer, T, Options) error

// Formats returns the formats for reports, by name.
func Formats() map[string]Writer[*Report] {
	return map[string]Writer[*Report]{
		"table": writeTable, "text": writeTable, "wide": writeWide, "json": writeJSON, "yaml": writeYAML, "sarif": writeSARIF, "junit": writeJUnit,
		"github": writeGitHub, "gitlab": writeGitLab,
	}
}

// AuditFormats returns the formats for audits, by name.
func AuditFormats() map[string]Writer[*Audit] {
	ofFindings := func(write Writer[*Report]) Writer[*Audit] {
		return func(w io.Writer, a *Audit, o Options) error { return write(w, a.findings(), o) }
	}
	return map[string]Writer[*Audit]{
		"table": auditTable, "text": auditTable, "wide": auditWide, "json": auditJSON, "yaml": auditYAML, "html": auditHTML,
		"sarif": ofFindings(writeSARIF), "junit": ofFindings(writeJUnit), "github": ofFindings(writeGitHub), "gitlab": ofFindings(writeGitLab),
	}
}

// TestFormats returns the formats for the results of cases, by name.
func TestFormats() map[string]Writer[[]TestResult] {
	return map[string]Writer[[]TestResult]{"text": testText, "table": testText, "json": testJSON, "yaml": testYAML, "junit": testJUnit}
}
