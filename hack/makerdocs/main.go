// Command makerdocs writes the table of what makes Secrets and ConfigMaps, from the
// table itself. It imports package makers and nothing else of ours.
package main

import (
	"fmt"
	"os"
	"strings"

	"tokenward.dev/tokenward/pkg/makers"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: makerdocs FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], []byte(page()), 0o644); err != nil { //nolint:gosec // documentation is for everybody
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func page() string {
	var b strings.Builder
	b.WriteString("# What makes Secrets and ConfigMaps\n\n" +
		"`kubectl tokenward check` counts what one of these makes as present. [Check manifests](check.md) tells how.\n" +
		"What is *likely* is told, and is no finding. Names are patterns: `{a.b|c}` is the first of the fields that has a value.\n\n" +
		"| maker | what it makes | certain | source |\n|---|---|---|---|\n")
	rows := makers.Sorted()
	for i := range rows {
		r := &rows[i]
		certain := "yes"
		if r.Likely {
			certain = "likely"
		}
		cell := func(text string) string { return strings.ReplaceAll(text, "|", "\\|") }
		fmt.Fprintf(&b, "| %s | %s | %s | [page](%s) |\n", cell(r.Maker()), cell(r.What()), certain, r.Source)
	}
	b.WriteString("\nBesides, a workload whose account may create Secrets (or ConfigMaps) in a namespace, by the roles among the manifests, likely makes\n" +
		"those that its arguments, variables, scripts or roles name.\n")
	return b.String()
}
