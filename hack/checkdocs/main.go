// Command checkdocs writes one page for each check into a directory, and an index
// of the pages, from the table of checks.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"tokenward.dev/tokenward/pkg/policy"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: checkdocs DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

const generated = "<!-- Written by make generate from pkg/policy. Do not edit. -->\n\n"

func write(dir string) error {
	checks := policy.Checks()
	if err := policy.ValidateChecks(checks); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	index := bytes.NewBufferString(generated + "# Checks\n\n| check | finds | default | severity |\n|---|---|---|---|\n")
	for i := range checks {
		c := &checks[i]
		fmt.Fprintf(index, "| [%s](%s.md) | %s | %s | %s |\n", c.ID, c.ID, c.Title, c.Default, c.Severity)
		if err := os.WriteFile(filepath.Join(dir, c.ID+".md"), page(c), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "README.md"), index.Bytes(), 0o644)
}

func page(c *policy.Check) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, generated+"# %s\n\nFinds %s. Default action: **%s**.\n", c.ID, c.Title, c.Default)
	fmt.Fprintf(&b, "\n- Judged when %s.", c.Subject)
	fmt.Fprintf(&b, "\n- Effect: %s.\n- Severity: %s.\n- Category: %s.\n", c.Effect, c.Severity, c.Category)
	if c.Waiting.Heals() {
		fmt.Fprintf(&b, "- The pod need not be changed: it becomes whole when the object that it points at is mended.\n")
	}
	fmt.Fprintf(&b, "\n## What goes wrong\n\n%s\n", c.Problem)
	fmt.Fprintf(&b, "\n## How to mend it\n\n%s\n", c.Remedy)
	if len(c.Parameters) > 0 {
		fmt.Fprintf(&b, "\n## Parameters\n\n")
		for _, p := range c.Parameters {
			fmt.Fprintf(&b, "- `%s`\n", p)
		}
	}
	fmt.Fprintf(&b, "\n## In a policy\n\n```yaml\nspec:\n  checks:\n    - {name: %s, action: Deny} # None, Audit, Warn, Hold or Deny\n```\n", c.ID)
	fmt.Fprintf(&b, "\nCases that show it: [test/cases/%s](../../test/cases/%s).\n", c.ID, c.ID)
	return b.Bytes()
}
