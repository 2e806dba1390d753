package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/printable"
)

// lineWidth is that of a terminal as it always was.
const lineWidth = 80

// maxText bounds what a terminal shows of a message or a remark. Files have it whole.
const maxText = 4 << 10

// writeTable is for people: a block for each object at fault, with what depends on
// it below; then what is made, and how many findings each check has.
func writeTable(w io.Writer, r *Report, o Options) error {
	t := &text{options: o}
	for _, b := range r.blocks() {
		t.block(b)
	}
	t.provided(r, false)
	t.provided(r, true)
	t.unjudged(r)
	t.byCheck(r)
	t.wrap(0, r.line())
	_, err := io.WriteString(w, t.String())
	return err
}

// block is what is said of one object at fault.
type block struct {
	first   *Result
	results []*Result
}

// blocks gathers the findings that differ only in where they are.
func (r *Report) blocks() []*block {
	type key struct {
		check, action, state, would string
		about                       About
	}
	var all []*block
	places := map[key]*block{}
	for i := range r.Results {
		f := &r.Results[i]
		if f.Accepted != "" {
			continue
		}
		k := key{f.Check, string(f.Action), f.State, string(f.Would), f.About}
		if places[k] == nil {
			places[k] = &block{first: f}
			all = append(all, places[k])
		}
		places[k].results = append(places[k].results, f)
	}
	slices.SortStableFunc(all, func(a, b *block) int { return b.first.Action.Strength() - a.first.Action.Strength() })
	return all
}

// text builds what people read.
type text struct {
	strings.Builder
	options Options
}

// wrap writes a text between words; what is long is not cut.
func (t *text) wrap(indent int, text string) {
	for _, line := range printable.Wrap(printable.Text(text, maxText), lineWidth-indent) {
		t.WriteString(strings.Repeat(" ", indent) + line + "\n")
	}
}

func (t *text) bold(text string) string {
	if !t.options.Colour {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

// maxUsers are shown of a block; the other formats have all.
const maxUsers = 20

func (t *text) block(b *block) {
	f := b.first
	t.WriteString(paint(fmt.Sprintf("%-5s", strings.ToUpper(f.label())), f.Action, t.options) + " " + t.bold(printable.Name(f.About.String())) + " (" + f.Check + ")\n")
	told, remarked := "", ""
	for i, f := range b.results {
		if i == maxUsers && len(b.results) > maxUsers+1 {
			_, _ = fmt.Fprintf(t, "        and %d more (-o wide lists them)\n", len(b.results)-maxUsers)
			break
		}
		if message := f.withoutPath(); message != told {
			told = message
			t.wrap(6, message)
		}
		name := printable.Name(f.Subject.String())
		if f.Source == nil {
			t.WriteString("      - " + name + ", " + printable.Name(f.Path) + "\n")
		} else {
			t.WriteString("      - " + name + "\n        " + f.Source.String() + ": " + printable.Name(f.Path) + "\n")
		}
		if f.Subject.Template != "" {
			t.WriteString("        from " + printable.Name(f.Subject.Template) + "\n")
		}
		if notes := f.remarks(); strings.Join(notes, "\n") != remarked {
			remarked = strings.Join(notes, "\n")
			for _, note := range notes {
				t.wrap(8, note)
			}
		}
	}
	t.WriteString("\n")
}

// withoutPath is the message without the field, which stands below it.
func (f *Result) withoutPath() string {
	if f.Path == "" {
		return f.Message
	}
	return strings.Replace(f.Message, " ("+f.Path+")", "", 1)
}

// provided lists what is made, for certain or likely.
func (t *text) provided(r *Report, likely bool) {
	title := "Not written down, but made by something that is:"
	if likely {
		title = "Not written down, and likely made by:"
	}
	told := false
	for _, p := range r.Provided {
		if p.Likely != likely {
			continue
		}
		if !told {
			t.WriteString(title + "\n")
			told = true
		}
		t.WriteString("  " + printable.Name(p.Object.String()) + " by " + printable.Text(p.By, maxText) + "\n")
	}
	if told {
		t.WriteString("\n")
	}
}

func (t *text) unjudged(r *Report) {
	if len(r.Unjudged) == 0 {
		return
	}
	t.WriteString("Not judged:\n")
	for i := range r.Unjudged {
		t.WriteString("  " + r.Unjudged[i].line() + "\n")
	}
	t.WriteString("\n")
}

// line says what is to be done about it.
func (u *Unjudged) line() string {
	text := plural(u.Count, printable.Name(u.Kind)) + " (" + printable.Name(u.APIVersion) + ")"
	if u.Resource == "" {
		return text + ": starts pods, and has no pod template that could be named"
	}
	return text + ": judged with --workload-resource " + printable.Name(u.Resource)
}

// byCheck counts findings and objects at fault for each check.
func (t *text) byCheck(r *Report) {
	told := false
	for _, c := range policy.Checks() {
		n, objects := 0, map[About]bool{}
		for i := range r.Results {
			if f := &r.Results[i]; f.Check == c.ID && f.Accepted == "" {
				n++
				objects[f.About] = true
			}
		}
		if n > 0 {
			_, _ = fmt.Fprintf(t, "%-25s %s, %s\n", c.ID, plural(len(objects), "object"), plural(n, "finding"))
			told = true
		}
	}
	if told {
		t.WriteString("\n")
	}
}

// String returns the place as editors and terminals open it.
func (p *Position) String() string {
	text := fmt.Sprintf("%s:%d", printable.Name(p.File), p.Line)
	if p.Column > 0 {
		text += fmt.Sprintf(":%d", p.Column)
	}
	return text
}

// remarks tells what is to be said of a finding besides its message.
func (f *Result) remarks() []string {
	var out []string
	if f.When != "" {
		out = append(out, "bites "+f.When)
	}
	if len(f.Policies) > 0 && !slices.Equal(f.Policies, []string{policy.DefaultName}) {
		out = append(out, "by TokenPolicy "+strings.Join(f.Policies, ", "))
	}
	if f.Would != "" {
		out = append(out, "dry run: "+string(f.Would)+" by TokenPolicy "+strings.Join(f.WouldPolicies, ", "))
	}
	if f.Exempted != "" {
		out = append(out, "exempted: "+f.Exempted)
	}
	if f.Accepted != "" {
		out = append(out, "accepted: "+f.Accepted)
	}
	out = append(out, f.Notes...)
	for i := range out {
		out[i] = printable.Text(out[i], printable.Whole)
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
	text := plural(s.Objects, "object") + " judged"
	if r.Files && r.Manifests != s.Objects {
		text += " of " + plural(r.Manifests, "manifest")
	}
	text += ": "
	switch {
	case s.Objects == 0 && r.Files:
		text = "Nothing was judged"
		if r.Manifests > 0 {
			text += ": there is no pod and no workload in " + plural(r.Manifests, "manifest")
		}
	case s.Deny+s.Hold+s.Warn+s.Audit == 0:
		text += "nothing found"
	default:
		text += fmt.Sprintf("%d denied, %d warned about, %d recorded", s.Deny, s.Hold+s.Warn, s.Audit)
	}
	for _, more := range []struct {
		n    int
		text string
	}{
		{s.DryRun, fmt.Sprintf("dry run: %d", s.DryRun)},
		{s.Accepted, fmt.Sprintf("%d accepted", s.Accepted)},
		{s.LikelyMade, fmt.Sprintf("%d likely made", s.LikelyMade)},
		{s.Unjudged, fmt.Sprintf("%d not judged", s.Unjudged)},
		{s.PassedOver, fmt.Sprintf("%d passed over", s.PassedOver)},
		{s.Errors, plural(s.Errors, "error")},
	} {
		if more.n > 0 {
			text += "; " + more.text
		}
	}
	if s.Unknown > 0 {
		text += fmt.Sprintf(" (%d of the findings unknown)", s.Unknown)
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
	if len(r.Results) > 0 {
		if _, err := fmt.Fprintln(table, "ACTION\tSTATE\tCHECK\tSUBJECT\tOBJECT\tWHERE\tMESSAGE"); err != nil {
			return err
		}
	}
	for i := range r.Results {
		f := &r.Results[i]
		where := printable.Name(f.Path)
		if f.Source != nil {
			where = f.Source.String()
		}
		label := f.label()
		if f.Accepted != "" {
			label = "none"
		}
		message := printable.Text(strings.Join(append([]string{f.Message}, f.remarks()...), "; "), maxText)
		if _, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", label, f.State, f.Check, printable.Name(f.Subject.String()), printable.Name(f.About.String()), where, message); err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil || len(r.Results) > 0 {
		return err
	}
	_, err := fmt.Fprintln(w, r.line())
	return err
}
