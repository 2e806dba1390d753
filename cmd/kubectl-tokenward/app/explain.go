package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tokenward.dev/tokenward/pkg/makers"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/strictyaml"
)

func newExplainCommand() *cobra.Command {
	checks := policy.Checks()
	return &cobra.Command{
		Use:   "explain [CHECK|makers|tokenpolicy[.FIELD]|default-policy]",
		Short: "List the checks, or tell all about one, or about policies",
		Long: `List the checks with what they find and what they lead to by default, or tell
all about one: what goes wrong, how to mend it, and how a TokenPolicy names it.

makers lists what makes Secrets and ConfigMaps that no manifest has; tokenpolicy
lists the fields of a TokenPolicy with examples; default-policy prints the
built-in policy, ready to be changed and applied.`,
		Example: `  kubectl tokenward explain
  kubectl tokenward explain token-valid
  kubectl tokenward explain tokenpolicy.spec.exemptions
  kubectl tokenward explain default-policy > default.yaml`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completions(checks, begun), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			p := newPrinter(cmd.OutOrStdout())
			if len(args) == 0 {
				p.checks(checks)
				return nil
			}
			switch kind, field, _ := strings.Cut(args[0], "."); {
			case kind == explainPolicy:
				return p.tokenPolicy(field)
			case args[0] == explainDefault:
				return p.defaultPolicy()
			case args[0] == explainMakers:
				p.makers()
				return nil
			}
			for i := range checks {
				if checks[i].ID == args[0] {
					p.check(&checks[i])
					return nil
				}
			}
			return unknownCheck(checks, args[0])
		},
	}
}

// makers prints the table of makers.
func (p *printer) makers() {
	rows := makers.Sorted()
	for i := range rows {
		title := rows[i].Maker()
		if rows[i].Likely {
			title += ", likely"
		}
		p.line(p.paint(bold, title))
		for _, line := range wrapped(rows[i].What(), width-2) {
			p.line("  " + line)
		}
	}
}

func completions(checks []policy.Check, begun string) []string {
	var out []string
	for word, title := range map[string]string{
		explainPolicy: "the fields of a TokenPolicy", explainDefault: "the built-in policy", explainMakers: "what makes Secrets and ConfigMaps",
	} {
		if strings.HasPrefix(word, begun) {
			out = append(out, cobra.CompletionWithDesc(word, title))
		}
	}
	slices.Sort(out)
	for i := range checks {
		if strings.HasPrefix(checks[i].ID, begun) {
			out = append(out, cobra.CompletionWithDesc(checks[i].ID, checks[i].Title))
		}
	}
	return out
}

func unknownCheck(checks []policy.Check, word string) error {
	if !commandWord.MatchString(word) {
		return errors.New("there is no such check; kubectl tokenward explain lists them")
	}
	ids := make([]string, len(checks))
	for i := range checks {
		ids[i] = checks[i].ID
	}
	if near := strictyaml.Nearest(word, ids); near != "" {
		return fmt.Errorf("there is no check %q; did you mean %q?", word, near)
	}
	return fmt.Errorf("there is no check %q; kubectl tokenward explain lists them", word)
}

// checks prints the table.
func (p *printer) checks(checks []policy.Check) {
	column := 0
	for i := range checks {
		column = max(column, len(checks[i].ID))
	}
	p.line(p.paint(bold, fmt.Sprintf("%-*s  %-7s  %s", column, "CHECK", "DEFAULT", "FINDS")))
	for i := range checks {
		id, action := checks[i].ID, string(checks[i].Default)
		for _, line := range wrapped(checks[i].Title, width-column-11) {
			p.line(fmt.Sprintf("%-*s  %-7s  %s", column, id, action, line))
			id, action = "", ""
		}
	}
}

// check prints all about one.
func (p *printer) check(c *policy.Check) {
	p.line(p.paint(bold, c.ID))
	p.prose("Finds " + c.Title + ".")
	p.prose("Default action: " + string(c.Default))
	p.line("\n" + p.paint(bold, "What goes wrong"))
	p.prose(c.Problem)
	p.line("\n" + p.paint(bold, "How to mend it"))
	p.prose(c.Remedy)
	if len(c.Parameters) > 0 {
		p.line("\n" + p.paint(bold, "Parameters"))
		p.prose(strings.Join(c.Parameters, ", "))
	}
	p.line("\n" + p.paint(bold, "In a policy"))
	p.line("spec:\n  checks:\n    # None, Audit, Warn, Hold or Deny\n    - {name: " + c.ID + ", action: Deny}")
}

// prose wraps Markdown's paragraphs, and leaves what is indented as it is.
func (p *printer) prose(markdown string) {
	for i, paragraph := range strings.Split(strings.TrimSpace(markdown), "\n\n") {
		if i > 0 {
			p.line("")
		}
		if strings.HasPrefix(paragraph, "    ") {
			p.line(strings.TrimRight(paragraph, "\n"))
			continue
		}
		text := strings.Join(strings.Fields(paragraph), " ")
		if strings.HasPrefix(paragraph, "- ") { // a list: its items stay apart
			text = strings.ReplaceAll(paragraph, "\n- ", "\x00- ")
			text = strings.ReplaceAll(strings.ReplaceAll(text, "\n", " "), "\x00", "\n")
		}
		for _, line := range wrapped(text, width) {
			p.line(line)
		}
	}
}
