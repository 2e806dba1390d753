// Command casedocs writes a table of the cases below a directory into a page: what
// each shows, its policies, and what comes of the request.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tokenward.dev/tokenward/pkg/cases"
	"tokenward.dev/tokenward/pkg/policy"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: casedocs DIR FILE")
		os.Exit(2)
	}
	page, err := page(os.Args[1])
	if err == nil {
		err = os.WriteFile(os.Args[2], page, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

const head = `<!-- Written by make generate from test/cases/compositions. Do not edit. -->

# How policies compose

Each line is a [case](cases.md) of [test/cases/compositions](../test/cases/compositions), which the tests run. If it does not say otherwise, somebody
creates a Pod that refers to the Secret ` + "`db`" + `, which does not exist. ` + "`default`" + ` is the built-in policy, unless the line has one of that name.
[TokenPolicy](policy.md) has the rules.
`

// page returns the table, a section a file. A case that fails is an error.
func page(dir string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b string) int { return number(a) - number(b) })
	out := bytes.NewBufferString(head)
	for _, file := range files {
		all, err := cases.Load(file)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		titles := titles(string(text))
		if len(titles) != len(all) {
			return nil, fmt.Errorf("%s: %d cases with %d titles: each starts with a line of comment", file, len(all), len(titles))
		}
		_, heading, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".yaml"), "-")
		heading = strings.ReplaceAll(heading, "-", " ")
		fmt.Fprintf(out, "\n## %s\n\n| | policies | given | outcome |\n|---|---|---|---|\n", strings.ToUpper(heading[:1])+heading[1:])
		for i, c := range all {
			line, err := line(c)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			fmt.Fprintf(out, "| %s | %s |\n", titles[i], line)
		}
	}
	return out.Bytes(), nil
}

func number(file string) int {
	digits, _, _ := strings.Cut(filepath.Base(file), "-")
	n, _ := strconv.Atoi(digits) // a file without a number comes first
	return n
}

// titles returns the comments that start the documents of a file.
func titles(text string) []string {
	var out []string
	for doc := range strings.SplitSeq(text, "---\n") {
		first, _, _ := strings.Cut(doc, "\n")
		if title, ok := strings.CutPrefix(first, "# "); ok {
			out = append(out, title)
		}
	}
	return out
}

func line(c *cases.Case) (string, error) {
	if problems := c.Run(); len(problems) > 0 {
		return "", fmt.Errorf("the case fails: %s", strings.Join(problems, "; "))
	}
	outcome, err := c.Outcome()
	if err != nil {
		return "", err
	}
	policies, err := policiesOf(c)
	if err != nil {
		return "", err
	}
	return strings.Join(policies, "<br>") + " | " + strings.Join(given(c), "<br>") + " | " + strings.Join(results(outcome), "<br>"), nil
}

func policiesOf(c *cases.Case) ([]string, error) {
	var out []string
	for _, raw := range c.File.Policies {
		var p struct {
			Metadata struct{ Name string }
			Spec     any
		}
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, err
		}
		out = append(out, p.Metadata.Name+": `"+strings.ReplaceAll(flow(p.Spec), "|", "\\|")+"`")
	}
	return out, nil
}

// given returns what is special about the request and the cluster.
func given(c *cases.Case) []string {
	var out []string
	if kind := c.Review().Pod; kind.Template {
		out = append(out, "a Deployment")
	} else if !strings.Contains(string(c.File.Request.Object), `"db"`) {
		out = append(out, "a Pod without references")
	}
	if c.File.Phase != "" {
		out = append(out, "when pods are changed")
	}
	for i := range c.File.Unknown {
		o := &c.File.Unknown[i]
		out = append(out, strings.TrimSuffix(o.Kind+" "+o.Name+" unknown: "+string(o.Why), ": "))
	}
	for _, raw := range c.File.Cluster {
		var o struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if json.Unmarshal(raw, &o) == nil { // it was read before
			out = append(out, "there is the "+o.Kind+" "+o.Metadata.Name)
		}
	}
	if c.File.DryRun {
		out = append(out, "the server's `--dry-run`")
	}
	return out
}

func results(o *cases.Outcome) []string {
	out := []string{"allowed"}
	if !o.Allowed {
		out[0] = "**refused**"
		if o.Code == policy.TooManyRequests {
			out[0] += ", 429"
		}
	}
	if o.Mutation != nil && len(o.Mutation.Operations) > 0 {
		out[0] += ", changed"
	}
	undecided := o.Undecided
	if m := o.Mutation; m != nil {
		undecided = append(slices.Clone(m.Undecided), undecided...)
	}
	out = append(out, findings("", o.Findings)...)
	out = append(out, findings("would ", o.Would)...)
	var named []string
	for i := range undecided {
		if u := undecided[i].Policy + " is undecided"; !slices.Contains(named, u) {
			named = append(named, u)
		}
	}
	return append(out, named...)
}

func findings(would string, list []policy.Finding) []string {
	var out []string
	for i := range list {
		f := &list[i]
		text := fmt.Sprintf("%s%s by %s: %s is %s", would, f.Action, strings.Join(f.Policies, ", "), f.Object.Kind, f.State)
		if f.Exempted != "" {
			text += "; exempted by " + f.Exempted
		}
		out = append(out, text)
	}
	return out
}

// flow writes JSON as YAML writes it on one line.
func flow(v any) string {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.SortFunc(keys, func(a, b string) int { return strings.Compare(rank(a)+a, rank(b)+b) })
		for i, k := range keys {
			keys[i] = k + ": " + flow(v[k])
		}
		return "{" + strings.Join(keys, ", ") + "}"
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = flow(v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case string:
		if strings.ContainsAny(v, `'"[]{},:#`) || v == "" {
			if len(v) > 80 {
				v = v[:77] + "..."
			}
			return strconv.Quote(v)
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

// rank puts names first.
func rank(key string) string {
	if key == "name" || key == "kind" {
		return "0"
	}
	return "1"
}
