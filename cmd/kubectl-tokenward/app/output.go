package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
	"sigs.k8s.io/yaml"
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
	file, ok := out.(*os.File)
	return &printer{out: out, colour: colours(ok && term.IsTerminal(int(file.Fd())), os.Getenv)}
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

// wrapped breaks a text between words. A word that is longer than a line stays
// whole, so that it can be copied.
func wrapped(text string, width int) []string {
	var lines []string
	for paragraph := range strings.SplitSeq(text, "\n") {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			switch {
			case line == "":
				line = word
			case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
				lines, line = append(lines, line), word
			default:
				line += " " + word
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// shown is what may be printed of a string that anybody may have written: no
// control character reaches the terminal.
func shown(text string) string {
	const longest = 256
	if utf8.RuneCountInString(text) > longest {
		text = string([]rune(text)[:longest]) + "..."
	}
	if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		return strconv.Quote(text)
	}
	return text
}

// span is a duration in the largest unit that says enough: "3 h", "12 days".
func span(d time.Duration) string {
	d = max(d, -d)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// when is a time relative to now, and the time itself.
func when(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	relative := "in " + span(t.Sub(now))
	if !t.After(now) {
		relative = span(now.Sub(t)) + " ago"
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
	if !repeatable(format) {
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
