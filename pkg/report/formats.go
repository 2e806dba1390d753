package report

import (
	"encoding/json"
	"io"
	"slices"

	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/policy"
)

// Options say how to write a report.
type Options struct {
	// Colour is for terminals alone.
	Colour bool
	// FailOn is from which action on a finding is a failure (JUnit); Warn if empty,
	// and Off for none.
	FailOn v1alpha1.Action
	// Version of the program, for formats that tell it; may be empty.
	Version string
}

// Writer writes a report in one format.
type Writer func(io.Writer, *Report, Options) error

// Formats returns the formats for reports, by name.
func Formats() map[string]Writer {
	return map[string]Writer{
		"table": writeTable, "wide": writeWide, "json": writeJSON, "yaml": writeYAML, "sarif": writeSARIF, "junit": writeJUnit,
	}
}

// document is the report as JSON and YAML have it. docs/check.md tells of it.
type document struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Summary    Summary    `json:"summary"`
	Results    []Result   `json:"results"`
	Provided   []Provided `json:"provided,omitempty"`
	// Checks tell more of those that found something.
	Checks []checkInfo `json:"checks,omitempty"`
}

type checkInfo struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	Problem string `json:"problem"`
	Remedy  string `json:"remedy"`
}

func (r *Report) document() document {
	d := document{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "Report",
		Summary: r.Summary(), Results: r.Results, Provided: r.Provided,
	}
	if d.Results == nil {
		d.Results = []Result{}
	}
	checks := policy.Checks()
	for i := range checks {
		c := &checks[i]
		if slices.ContainsFunc(r.Results, func(f Result) bool { return f.Check == c.ID }) {
			d.Checks = append(d.Checks, checkInfo{ID: c.ID, Title: c.Title, Problem: c.Problem, Remedy: c.Remedy})
		}
	}
	return d
}

func writeJSON(w io.Writer, r *Report, _ Options) error { return encodeJSON(w, r.document()) }

func writeYAML(w io.Writer, r *Report, _ Options) error { return encodeYAML(w, r.document()) }

func encodeJSON(w io.Writer, document any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}

func encodeYAML(w io.Writer, document any) error {
	text, err := yaml.Marshal(document)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}
