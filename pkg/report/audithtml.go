package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"tokenward.dev/tokenward/pkg/policy"
)

//go:embed audit.html
var auditPage string //nolint:gochecknoglobals // embedded, never written to

// page is what the template of the audit's page gets.
type page struct {
	*Audit
	Summary    auditSummary
	Checks     map[string]policy.Check
	Used       []string // checks that found something
	Namespaces []string
	Graph      []edge
}

// edge is a token that a workload uses, for the picture.
type edge struct {
	Namespace string `json:"ns"`
	Workload  string `json:"workload"`
	Secret    string `json:"secret"`
	Account   string `json:"account"`
	Kind      string `json:"kind"`
	Verdict   string `json:"verdict"`
	Pods      int    `json:"pods"`
}

// auditHTML writes one file that needs nothing else, for a browser.
func auditHTML(w io.Writer, a *Audit, _ Options) error {
	p := page{Audit: a, Summary: a.summary(), Checks: map[string]policy.Check{}}
	for _, c := range policy.Checks() {
		p.Checks[c.ID] = c
		if a.has(c.ID) {
			p.Used = append(p.Used, c.ID)
		}
	}
	for i := range a.Workloads {
		p.Namespaces = append(p.Namespaces, a.Workloads[i].Namespace)
	}
	for i := range a.Tokens {
		u := &a.Tokens[i]
		p.Namespaces = append(p.Namespaces, u.Workload.Namespace)
		p.Graph = append(p.Graph, edge{
			Namespace: u.Workload.Namespace, Workload: u.Workload.String(), Secret: u.Secret, Account: u.Account,
			Kind: u.Kind, Verdict: u.Verdict, Pods: u.Pods,
		})
	}
	slices.Sort(p.Namespaces)
	p.Namespaces = slices.Compact(p.Namespaces)
	t, err := template.New("audit").Funcs(template.FuncMap{
		"plural": plural, "lower": strings.ToLower, "join": strings.Join,
		"date":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"action": actionOf,
		"worst":  func(w Workload) string { return lowest(string(w.strongest())) },
	}).Parse(auditPage)
	if err != nil {
		return fmt.Errorf("html: %w", err)
	}
	return t.Execute(w, p)
}

func actionOf(f Fault) string { return lowest(string(f.Action)) }

// lowest names an action as the page does.
func lowest(action string) string {
	if action == "" {
		return "dryrun"
	}
	return strings.ToLower(action)
}
