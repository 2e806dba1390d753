package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/printable"
)

// lineWidth is that of a terminal as it always was.
const lineWidth = 80

// maxText bounds a remark: the names of some policies, an event, a reason.
const maxText = 4 << 10

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
		for _, line := range printable.Wrap(printable.Text(f.Message, maxText), lineWidth-8) {
			b.WriteString("        " + line + "\n")
		}
		for _, note := range f.remarks() {
			for _, line := range printable.Wrap("- "+note, lineWidth-8) {
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
		for _, line := range printable.Wrap(printable.Name(p.Object)+" by "+printable.Text(p.By, maxText), lineWidth-2) {
			b.WriteString("  " + line + "\n")
		}
	}
	if len(r.Provided) > 0 {
		b.WriteString("\n")
	}
	b.WriteString(strings.Join(printable.Wrap(r.line(), lineWidth), "\n") + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func heading(f *Result, o Options) string {
	name := printable.Name(f.Subject.String())
	if o.Colour {
		name = "\x1b[1m" + name + "\x1b[0m"
	}
	if s := f.Subject.Source; s != nil {
		from := ""
		if f.Subject.Template != "" {
			from = "\n  from " + printable.Name(f.Subject.Template)
		}
		return fmt.Sprintf("%s\n  in %s:%d%s\n", name, printable.Name(s.File), s.Line, from)
	}
	return name + "\n"
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
		out[i] = printable.Text(out[i], maxText)
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

// line sums the report up in words.
func (r *Report) line() string {
	s := r.summary()
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
		_, err := fmt.Fprintln(w, r.line())
		return err
	}
	if _, err := fmt.Fprintln(table, "ACTION\tSTATE\tCHECK\tSUBJECT\tOBJECT\tWHERE\tMESSAGE"); err != nil {
		return err
	}
	for i := range r.Results {
		f := &r.Results[i]
		where := f.Path
		if f.Source != nil {
			where = fmt.Sprintf("%s:%d", printable.Name(f.Source.File), f.Source.Line)
		}
		message := strings.Join(append([]string{printable.Text(f.Message, maxText)}, f.remarks()...), "; ")
		if _, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.label(), f.State, f.Check, printable.Name(f.Subject.String()), printable.Name(f.About), where, message); err != nil {
			return err
		}
	}
	return table.Flush()
}
