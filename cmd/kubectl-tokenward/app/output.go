package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/pkg/printable"
)

// width is what all tables and help fit into.
const width = 80

// style is an SGR code of terminals.
type style string

const (
	plain  style = ""
	bold   style = "1"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

// printer writes for people. Colours are for terminals alone, and for those who
// did not ask for none (https://no-color.org).
type printer struct {
	out    io.Writer
	colour bool
}

func newPrinter(out io.Writer) *printer {
	return &printer{out: out, colour: colours(isTerminal(out), os.Getenv)}
}

func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

func colours(terminal bool, getenv func(string) string) bool {
	return terminal && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

func (p *printer) paint(s style, text string) string {
	if !p.colour || s == plain {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

func (p *printer) line(text string) { _, _ = fmt.Fprintln(p.out, text) }

// row is one line of a table of two columns.
type row struct {
	name, value string
	style       style
}

// rows prints the rows that have a value, wrapped where they are too long.
func (p *printer) rows(rows []row) {
	column := 0
	for _, r := range rows {
		if r.value != "" {
			column = max(column, utf8.RuneCountInString(r.name))
		}
	}
	for _, r := range rows {
		if r.value == "" {
			continue
		}
		name := r.name
		for _, line := range wrapped(r.value, width-column-2) {
			p.line(fmt.Sprintf("%-*s  %s", column, name, p.paint(r.style, line)))
			name = ""
		}
	}
}

// wrapped breaks each line of a text between words.
func wrapped(text string, width int) []string {
	var lines []string
	for paragraph := range strings.SplitSeq(text, "\n") {
		broken := printable.Wrap(paragraph, width)
		if len(broken) == 0 {
			broken = []string{""}
		}
		lines = append(lines, broken...)
	}
	return lines
}

// when is a time relative to now, and the time itself.
func when(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	relative := "in " + duration.HumanDuration(t.Sub(now))
	if !t.After(now) {
		relative = duration.HumanDuration(now.Sub(t)) + " ago"
	}
	return relative + " (" + t.UTC().Format(time.RFC3339) + ")"
}

// formats of commands that print one thing.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

func checkFormat(format string) error {
	switch format {
	case formatTable, formatJSON, formatYAML:
		return nil
	}
	if !mayQuote(format) {
		return errors.New("--output: is none of table, json, yaml")
	}
	return fmt.Errorf("--output: %q is none of table, json, yaml", format)
}

// printAs writes a value for machines, or calls table.
func printAs(out io.Writer, format string, value any, table func()) error {
	switch format {
	case formatJSON:
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	case formatYAML:
		text, err := yaml.Marshal(value)
		if err == nil {
			_, err = out.Write(text)
		}
		return err
	}
	table()
	return nil
}

// completeWords makes the shell complete the value of a flag with words.
func completeWords(command *cobra.Command, flag string, words ...string) {
	_ = command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}
