package report

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/printable"
)

// fingerprint is the key of ours among partialFingerprints; the number goes up
// if what it is made of changes.
const fingerprint = "tokenwardFinding/v1"

// writeSARIF is for code scanning: SARIF 2.1.0 with all checks as rules.
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
func writeSARIF(w io.Writer, r *Report, o Options) error {
	driver := sarifDriver{Name: "tokenward", Version: o.Version}
	places := map[string]int{}
	checks := policy.Checks()
	for i := range checks {
		places[checks[i].ID] = i
		driver.Rules = append(driver.Rules, rule(&checks[i]))
	}
	run := sarifRun{Tool: sarifTool{driver}, ColumnKind: "unicodeCodePoints", Results: []sarifResult{}, Invocations: r.invocations()}
	for i := range r.Results {
		f := &r.Results[i]
		result := sarifResult{
			RuleID: f.Check, Level: level(f.Action), Locations: []sarifLocation{f.location()},
			Message:             sarifText{Text: strings.Join(append([]string{printable.Text(f.Message, printable.Whole)}, f.remarks()...), "\n")},
			PartialFingerprints: map[string]string{fingerprint: f.fingerprint()},
			Properties:          map[string]any{"action": f.label(), "state": f.State, "object": printable.WholeName(f.About.String())},
		}
		if at, ok := places[f.Check]; ok {
			result.RuleIndex = &at
		}
		if f.Accepted != "" {
			result.Suppressions = []sarifSuppression{{Kind: "inSource", Justification: printable.Text(f.Accepted, printable.Whole)}}
		}
		if f.Action == "" { // dry run alone
			result.Level = level(v1alpha1.Audit)
		}
		run.Results = append(run.Results, result)
	}
	return encodeJSON(w, sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run},
	})
}

// invocations tells of what could not be read or judged.
func (r *Report) invocations() []sarifInvocation {
	if len(r.Errors)+len(r.Unjudged) == 0 {
		return nil
	}
	one := sarifInvocation{Successful: len(r.Errors) == 0}
	for i := range r.Errors {
		e := &r.Errors[i]
		n := sarifNotification{Level: "error", Message: sarifText{Text: printable.Text(e.Message, printable.Whole)}}
		if e.Source != nil {
			n.Locations = []sarifLocation{{Physical: physical(e.Source)}}
		}
		one.Notifications = append(one.Notifications, n)
	}
	for i := range r.Unjudged {
		one.Notifications = append(one.Notifications, sarifNotification{Level: "warning", Message: sarifText{Text: r.Unjudged[i].line()}})
	}
	return []sarifInvocation{one}
}

func rule(c *policy.Check) sarifRule {
	help := c.Problem + "\n\n" + c.Remedy
	out := sarifRule{
		ID: c.ID, Short: sarifText{Text: "Finds " + c.Title + "."}, Full: sarifText{Text: plain(c.Problem)},
		Help: sarifText{Text: plain(help), Markdown: help},
	}
	out.Default.Enabled, out.Default.Level = c.Default != v1alpha1.None, level(c.Default)
	return out
}

// plain takes the marks of code out of Markdown; the texts of checks have no others.
func plain(markdown string) string { return strings.ReplaceAll(markdown, "`", "") }

func level(a v1alpha1.Action) string {
	switch a {
	case v1alpha1.Deny:
		return "error"
	case v1alpha1.Warn, v1alpha1.Hold: // Hold acts as Warn
		return "warning"
	case v1alpha1.Audit:
		return "note"
	case v1alpha1.None:
	}
	return "none"
}

// location has the object and the field and, where there is a file, the line.
func (f *Result) location() sarifLocation {
	out := sarifLocation{Logical: []sarifLogical{{
		Name: printable.WholeName(f.Subject.Name), Full: printable.WholeName(f.Subject.String() + " " + f.Path), Kind: "resource",
	}}}
	if f.Source == nil {
		return out
	}
	out.Physical = physical(f.Source)
	return out
}

func physical(at *Position) *sarifPhysical {
	file := url.URL{Path: filepath.ToSlash(at.File)}
	base := "%SRCROOT%"
	if filepath.IsAbs(at.File) {
		file.Scheme, base = "file", ""
	}
	return &sarifPhysical{Artifact: sarifArtifact{URI: file.String(), Base: base}, Region: sarifRegion{Line: max(1, at.Line), Column: at.Column}}
}

// fingerprint stays the same when lines move: it knows the finding by what was
// found in which object.
func (f *Result) fingerprint() string {
	group, _, _ := strings.Cut(f.Subject.APIVersion, "/")
	return sum(f.Check, group, f.Subject.String(), f.About.String(), f.Path, f.State)
}

func sum(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// The parts of SARIF that a report needs.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`

		Invocations []sarifInvocation `json:"invocations,omitempty"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		Notifications []sarifNotification `json:"toolExecutionNotifications"`
	}
	sarifNotification struct {
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Justification string `json:"justification"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string    `json:"id"`
		Short   sarifText `json:"shortDescription"`
		Full    sarifText `json:"fullDescription"`
		Help    sarifText `json:"help"`
		Default struct {
			Enabled bool   `json:"enabled"`
			Level   string `json:"level"`
		} `json:"defaultConfiguration"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifResult struct {
		RuleID              string             `json:"ruleId"`
		RuleIndex           *int               `json:"ruleIndex,omitempty"`
		Level               string             `json:"level"`
		Message             sarifText          `json:"message"`
		Locations           []sarifLocation    `json:"locations"`
		PartialFingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions        []sarifSuppression `json:"suppressions,omitempty"`
		Properties          map[string]any     `json:"properties"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI  string `json:"uri"`
		Base string `json:"uriBaseId,omitempty"`
	}
	sarifRegion struct {
		Line   int `json:"startLine"`
		Column int `json:"startColumn,omitempty"`
	}
	sarifLogical struct {
		Name string `json:"name"`
		Full string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
)
