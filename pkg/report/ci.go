package report

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/printable"
)

// writeGitHub is for the log of GitHub Actions: workflow commands, by which GitHub
// shows findings beside the lines of a pull request, and the sum.
// https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
func writeGitHub(w io.Writer, r *Report, _ Options) error {
	var b strings.Builder
	for i := range r.Results {
		f := &r.Results[i]
		if f.Accepted != "" {
			continue
		}
		command := map[v1alpha1.Action]string{v1alpha1.Deny: "error", v1alpha1.Hold: "warning", v1alpha1.Warn: "warning"}[f.Action]
		if command == "" {
			command = "notice"
		}
		message := strings.Join(append([]string{f.Subject.String() + ": " + f.Message}, f.remarks()...), "\n")
		b.WriteString(workflowCommand(command, f.Source, f.Check+": "+f.About.String(), message))
	}
	for i := range r.Errors {
		b.WriteString(workflowCommand("error", r.Errors[i].Source, "not read", r.Errors[i].Message))
	}
	for i := range r.Unjudged {
		b.WriteString(workflowCommand("warning", nil, "not judged", r.Unjudged[i].line()))
	}
	b.WriteString(r.line() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func workflowCommand(command string, at *Position, title, message string) string {
	var properties []string
	if at != nil {
		properties = append(properties, "file="+commandProperty(filepath.ToSlash(at.File)), fmt.Sprintf("line=%d", max(1, at.Line)))
		if at.Column > 0 {
			properties = append(properties, fmt.Sprintf("col=%d", at.Column))
		}
	}
	properties = append(properties, "title="+commandProperty(title))
	return "::" + command + " " + strings.Join(properties, ",") + "::" + commandData(message) + "\n"
}

// commandData escapes as the toolkit of GitHub does (actions/toolkit,
// packages/core/src/command.ts); line breaks are those of remarks.
func commandData(text string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(printable.Lines(text))
}

func commandProperty(text string) string {
	return strings.NewReplacer("%", "%25", ":", "%3A", ",", "%2C").Replace(printable.Name(text))
}

// gitlabFinding is one finding of GitLab's code quality.
// https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
type gitlabFinding struct {
	Description string         `json:"description"`
	CheckName   string         `json:"check_name"`
	Fingerprint string         `json:"fingerprint"`
	Severity    string         `json:"severity"`
	Location    gitlabLocation `json:"location"`
}

type gitlabLocation struct {
	Path  string      `json:"path"`
	Lines gitlabLines `json:"lines"`
}

type gitlabLines struct {
	Begin int `json:"begin"`
}

func writeGitLab(w io.Writer, r *Report, _ Options) error {
	all := []gitlabFinding{}
	for i := range r.Results {
		f := &r.Results[i]
		if f.Accepted != "" {
			continue
		}
		severity := map[v1alpha1.Action]string{v1alpha1.Deny: "major", v1alpha1.Hold: "minor", v1alpha1.Warn: "minor"}[f.Action]
		if severity == "" {
			severity = "info"
		}
		text := printable.Text(strings.Join(append([]string{f.Subject.String() + ": " + f.Message}, f.remarks()...), "; "), printable.Whole)
		all = append(all, gitlabFinding{text, f.Check, f.fingerprint(), severity, gitlabPlace(f.Source)})
	}
	for i := range r.Errors {
		e := &r.Errors[i]
		all = append(all, gitlabFinding{printable.Text(e.Message, printable.Whole), "not-read", sum("not-read", e.String()), "major", gitlabPlace(e.Source)})
	}
	return encodeJSON(w, all)
}

// gitlabPlace is where a finding stands; GitLab wants a place for each.
func gitlabPlace(at *Position) gitlabLocation {
	if at == nil {
		return gitlabLocation{".", gitlabLines{1}}
	}
	return gitlabLocation{printable.WholeName(strings.TrimPrefix(filepath.ToSlash(at.File), "./")), gitlabLines{max(1, at.Line)}}
}
