package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

// lineWidth is that of a terminal as it always was.
const lineWidth = 80

// writeTable is for people: the findings of an object below its name.
func writeTable(w io.Writer, r *Report, o Options) error {
	var b strings.Builder
	for i := range r.Results {
		f := &r.Results[i]
		if i == 0 || r.Results[i-1].Subject.compare(&f.Subject) != 0 {
			b.WriteString(heading(f, o))
		}
		title := f.Check
		if f.Source != nil {
			title += fmt.Sprintf(" (line %d)", f.Source.Line)
		}
		fmt.Fprintf(&b, "  %s %s\n", paint(fmt.Sprintf("%-5s", strings.ToUpper(f.label())), f.Action, o), title)
		for _, line := range wrap(f.Message, lineWidth-8) {
			b.WriteString("        " + line + "\n")
		}
		for _, note := range f.remarks() {
			for _, line := range wrap("- "+note, lineWidth-8) {
				b.WriteString("        " + line + "\n")
			}
		}
	}
	if len(r.Results) > 0 {
		b.WriteString("\n")
	}
	for i, p := range r.Provided {
		if i == 0 {
			b.WriteString("Not written down, but made by something that is:\n")
		}
		for _, line := range wrap(shown(p.Object+" by "+p.By), lineWidth-2) {
			b.WriteString("  " + line + "\n")
		}
	}
	if len(r.Provided) > 0 {
		b.WriteString("\n")
	}
	b.WriteString(strings.Join(wrap(r.Summary().line(), lineWidth), "\n") + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func heading(f *Result, o Options) string {
	name := shown(f.Subject.String())
	if o.Colour {
		name = "\x1b[1m" + name + "\x1b[0m"
	}
	if s := f.Subject.Source; s != nil {
		from := ""
		if f.Subject.Template != "" {
			from = "\n  from " + shown(f.Subject.Template)
		}
		return fmt.Sprintf("%s\n  in %s:%d%s\n", name, shown(s.File), s.Line, from)
	}
	return name + "\n"
}

// shown is what may be printed of names that anybody may have written: no
// control character reaches the terminal.
func shown(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.QuoteToASCII(text)
	}
	return text
}

// remarks tells what is to be said of a finding besides its message.
func (f *Result) remarks() []string {
	var out []string
	if f.When != "" {
		out = append(out, "bites "+f.When)
	}
	if len(f.Policies) > 0 {
		out = append(out, "by TokenPolicy "+strings.Join(f.Policies, ", "))
	}
	if f.Would != "" {
		out = append(out, "dry run: "+string(f.Would)+" by TokenPolicy "+strings.Join(f.WouldPolicies, ", "))
	}
	if f.Exempted != "" {
		out = append(out, "exempted: "+f.Exempted)
	}
	out = append(out, f.Notes...)
	for i := range out {
		out[i] = shown(out[i])
	}
	return out
}

// label is the action of a finding in one word, of five letters at most.
func (f *Result) label() string {
	if f.Action == "" {
		return "none"
	}
	return string(f.Action)
}

// paint colours a word by its action, on terminals.
func paint(word string, a v1alpha1.Action, o Options) string {
	colour, ok := map[v1alpha1.Action]string{v1alpha1.Deny: "31", v1alpha1.Warn: "33", v1alpha1.Audit: "36"}[a]
	if !o.Colour || !ok {
		return word
	}
	return "\x1b[" + colour + "m" + word + "\x1b[0m"
}

// wrap breaks a text at spaces into lines of at most width characters; a word
// that is longer stands alone.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// line sums up in words.
func (s Summary) line() string {
	text := plural(s.Objects, "object") + " judged: "
	if s.Deny+s.Warn+s.Audit == 0 {
		text += "nothing found"
	} else {
		text += fmt.Sprintf("%d denied, %d warned about, %d recorded", s.Deny, s.Warn, s.Audit)
	}
	if s.Unknown > 0 {
		text += fmt.Sprintf(" (%d of them unknown)", s.Unknown)
	}
	if s.DryRun > 0 {
		text += fmt.Sprintf("; dry run: %d", s.DryRun)
	}
	return text
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// writeWide has one line a finding, for wide terminals and grep.
func writeWide(w io.Writer, r *Report, _ Options) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Results) == 0 {
		_, err := fmt.Fprintln(w, r.Summary().line())
		return err
	}
	if _, err := fmt.Fprintln(table, "ACTION\tSTATE\tCHECK\tSUBJECT\tOBJECT\tWHERE\tMESSAGE"); err != nil {
		return err
	}
	for i := range r.Results {
		f := &r.Results[i]
		where := f.Path
		if f.Source != nil {
			where = fmt.Sprintf("%s:%d", shown(f.Source.File), f.Source.Line)
		}
		message := strings.Join(append([]string{f.Message}, f.remarks()...), "; ")
		if _, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.label(), f.State, f.Check, shown(f.Subject.String()), shown(f.About), where, message); err != nil {
			return err
		}
	}
	return table.Flush()
}
