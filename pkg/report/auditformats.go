package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/printable"
)

// findings returns the findings alone, for formats that know nothing else.
func (a *Audit) findings() *Report {
	r := &Report{}
	for i := range a.Workloads {
		w := &a.Workloads[i]
		subject := Object{APIVersion: w.APIVersion, Kind: w.Kind, Namespace: w.Namespace, Name: w.Name, UID: w.UID}
		r.Objects = append(r.Objects, subject)
		for j := range w.Findings {
			f := &w.Findings[j]
			result := Result{
				Check: f.Check, Action: f.Action, State: f.State, Message: f.Message, Subject: subject, About: parseAbout(f.Object), Path: f.Path,
				Policies: f.Policies, Exempted: f.Exempted, Would: f.Would, When: f.When,
			}
			if w.Bare {
				result.Notes = append(result.Notes, bareNote)
			}
			r.Results = append(r.Results, result)
		}
	}
	r.Sort()
	return r
}

const bareNote = "nobody makes this pod again: keep its manifest before you delete it"

// auditDocument is the audit as JSON and YAML have it. docs/audit.md tells of it.
type auditDocument struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Summary    auditSummary `json:"summary"`
	Audit      `json:",inline"`
	Checks     []checkInfo `json:"checks,omitempty"`
}

// auditSummary counts.
type auditSummary struct {
	// Workloads with findings, by the strongest action of those.
	Deny  int `json:"deny"`
	Warn  int `json:"warn"`
	Audit int `json:"audit"`
	// Findings for want of knowledge, and of policies in dry run alone.
	Unknown int `json:"unknown"`
	DryRun  int `json:"dryRun"`
	// Stuck pods, bare pods with findings, dead embedded tokens, needless tokens.
	Stuck       int `json:"stuck"`
	DeadSecrets int `json:"deadSecrets"`
	Bare        int `json:"bare"`
	Dead        int `json:"deadEmbedded"`
	Needless    int `json:"needlessTokens"`
}

// summary counts what was found.
func (a *Audit) summary() auditSummary {
	s := auditSummary{Stuck: len(a.Stuck), DeadSecrets: len(a.Dead)}
	for i := range a.Workloads {
		w := &a.Workloads[i]
		switch w.strongest() {
		case v1alpha1.Deny:
			s.Deny++
		case v1alpha1.Warn, v1alpha1.Hold: // Hold acts as Warn
			s.Warn++
		case v1alpha1.Audit:
			s.Audit++
		case v1alpha1.None:
		}
		if w.Bare {
			s.Bare++
		}
		for j := range w.Findings {
			f := &w.Findings[j]
			if f.State == facts.Unknown.String() {
				s.Unknown++
			}
			if f.Action == "" {
				s.DryRun++
			}
		}
	}
	for i := range a.Embedded {
		if a.Embedded[i].Verdict == "invalid" {
			s.Dead++
		}
	}
	for i := range a.Accounts {
		if a.Accounts[i].Needless {
			s.Needless++
		}
	}
	return s
}

func (w *Workload) strongest() v1alpha1.Action {
	var out v1alpha1.Action
	for i := range w.Findings {
		out = v1alpha1.Stronger(out, w.Findings[i].Action)
	}
	return out
}

func (a *Audit) document() auditDocument {
	return auditDocument{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "Audit", Summary: a.summary(), Audit: *a, Checks: checksThat(a.has),
	}
}

// has reports whether a check has found something.
func (a *Audit) has(check string) bool {
	return slices.ContainsFunc(a.Workloads, func(w Workload) bool {
		return slices.ContainsFunc(w.Findings, func(f Fault) bool { return f.Check == check })
	})
}

func auditJSON(w io.Writer, a *Audit, _ Options) error { return encodeJSON(w, a.document()) }

func auditYAML(w io.Writer, a *Audit, _ Options) error { return encodeYAML(w, a.document()) }

// auditWide has one line an item, for wide terminals and grep.
func auditWide(w io.Writer, a *Audit, _ Options) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...string) {
		for i := range cells {
			cells[i] = printable.Text(cells[i], maxText)
		}
		_, _ = fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	row("ACTION", "CHECK", "WORKLOAD", "PODS", "STUCK", "BARE", "OBJECT", "STATE", "WHEN", "MESSAGE")
	for i := range a.Workloads {
		wl := &a.Workloads[i]
		for j := range wl.Findings {
			f := &wl.Findings[j]
			action := string(f.Action)
			if action == "" {
				action = "(" + string(f.Would) + ")"
			}
			row(action, f.Check, wl.String(), strconv.Itoa(wl.Pods), strconv.Itoa(wl.Stuck), yesNo(wl.Bare), f.Object, f.State, dash(f.When), f.Message)
		}
	}
	if len(a.Tokens) > 0 {
		row("")
		row("TOKEN", "WORKLOAD", "PODS", "SECRET", "KEY", "ACCOUNT", "VERDICT", "WHY")
		for i := range a.Tokens {
			u := &a.Tokens[i]
			row(u.Kind, u.Workload.String(), strconv.Itoa(u.Pods), dash(u.Secret), dash(u.Key), dash(u.Account), u.Verdict, dash(u.Why))
		}
	}
	if len(a.Accounts) > 0 {
		row("")
		row("ACCOUNT", "PODS", "NEEDLESS", "MAY")
		for i := range a.Accounts {
			c := &a.Accounts[i]
			row(c.Namespace+"/"+c.Name, strconv.Itoa(c.Pods), yesNo(c.Needless), dash(strings.Join(c.May, "; ")))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	t := &auditText{}
	t.WriteString("\n")
	t.dead(a)
	t.stuck(a)
	t.embedded(a)
	t.tokenless(a)
	t.incomplete(a)
	t.WriteString(a.line() + "\n")
	_, err := io.WriteString(w, t.String())
	return err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
