package report

import (
	"encoding/json"
	"io"
	"slices"

	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/policy"
)

// document is the report as JSON and YAML have it. docs/check.md tells of it.
type document struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Summary    summary    `json:"summary"`
	Results    []Result   `json:"results"`
	Provided   []Provided `json:"provided,omitempty"`
	// Errors, Unjudged and PassedOver are what the results say nothing of.
	Errors     []Problem    `json:"errors,omitempty"`
	Unjudged   []Unjudged   `json:"unjudged,omitempty"`
	PassedOver []PassedOver `json:"passedOver,omitempty"`
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
		Summary: r.summary(), Results: r.Results, Provided: r.Provided,
		Errors: r.Errors, Unjudged: r.Unjudged, PassedOver: r.PassedOver,
	}
	if d.Results == nil {
		d.Results = []Result{}
	}
	d.Checks = checksThat(func(id string) bool {
		return slices.ContainsFunc(r.Results, func(f Result) bool { return f.Check == id })
	})
	return d
}

// checksThat describes the checks that have found something.
func checksThat(found func(id string) bool) []checkInfo {
	var out []checkInfo
	for _, c := range policy.Checks() {
		if found(c.ID) {
			out = append(out, checkInfo{ID: c.ID, Title: c.Title, Problem: c.Problem, Remedy: c.Remedy})
		}
	}
	return out
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
