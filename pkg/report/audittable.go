package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/printable"
)

// auditText builds what people read.
type auditText struct {
	strings.Builder
	options Options
}

func (t *auditText) heading(text string) {
	if t.options.Colour {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	t.WriteString(text + "\n")
}

func (t *auditText) paragraph(indent int, first, text string) {
	text = printable.Text(text, maxText) // claims and events are anybody's words
	for i, line := range printable.Wrap(first+text, lineWidth-indent) {
		pad := strings.Repeat(" ", indent)
		if i > 0 && first != "" {
			pad += "  "
		}
		t.WriteString(pad + line + "\n")
	}
}

// auditTable is for people: what breaks, workload by workload. What is only
// recorded is counted; the format wide has it all.
func auditTable(w io.Writer, a *Audit, o Options) error {
	t := &auditText{options: o}
	recorded := map[string]int{}
	for i := range a.Workloads {
		t.workload(&a.Workloads[i], recorded)
	}
	t.dead(a)
	t.stuck(a)
	t.embedded(a)
	t.tokenless(a)
	t.accounts(a)
	if len(recorded) > 0 {
		t.heading("Recorded, not warned about (-o wide lists them)")
		for _, check := range policy.Checks() {
			if n := recorded[check.ID]; n > 0 {
				t.WriteString("  " + check.ID + ": " + plural(n, "workload") + "\n")
			}
		}
		t.WriteString("\n")
	}
	t.incomplete(a)
	t.WriteString(a.line() + "\n")
	_, err := io.WriteString(w, t.String())
	return err
}

func (t *auditText) workload(w *Workload, recorded map[string]int) {
	told := false
	for i := range w.Findings {
		f := &w.Findings[i]
		if f.Action == v1alpha1.Audit || (f.Action == "" && f.Would == v1alpha1.Audit) {
			recorded[f.Check]++
			continue
		}
		if !told {
			told = true
			t.heading(printable.Name(w.String()) + w.count())
			if w.Bare {
				t.paragraph(2, "", bareNote)
			}
		}
		label := f.Action
		if label == "" {
			label = "none"
		}
		title := f.Check
		if f.When != "" {
			title += ", " + f.When
		}
		t.WriteString("  " + paint(fmt.Sprintf("%-5s", strings.ToUpper(string(label))), f.Action, t.options) + " " + title + "\n")
		t.paragraph(8, "", f.Message)
		if len(f.Policies) > 0 {
			t.paragraph(8, "- ", "by TokenPolicy "+strings.Join(f.Policies, ", "))
		}
		if f.Would != "" {
			t.paragraph(8, "- ", "dry run: "+string(f.Would))
		}
	}
	if told {
		t.WriteString("\n")
	}
}

func (w *Workload) count() string {
	if w.Kind == "Pod" {
		return ""
	}
	text := " (" + plural(w.Pods, "pod")
	if w.Stuck > 0 {
		text += ", " + strconv.Itoa(w.Stuck) + " stuck"
	}
	return text + ")"
}

func (t *auditText) dead(a *Audit) {
	if len(a.Dead) == 0 {
		return
	}
	t.heading("Token Secrets whose token the API server refuses")
	for i := range a.Dead {
		d := &a.Dead[i]
		t.paragraph(2, "", fmt.Sprintf("%s, of account %s: %s", d.Secret, dash(d.Account), d.Why))
		for _, w := range d.Workloads {
			t.paragraph(4, "- ", "used by "+w.String())
		}
	}
	t.paragraph(2, "", "Remove data.token of each: a new token is written into it, under the same name. Then restart what uses it.")
	t.WriteString("\n")
}

func (t *auditText) stuck(a *Audit) {
	if len(a.Stuck) == 0 {
		return
	}
	t.heading("Stuck pods")
	for i := range a.Stuck {
		s := &a.Stuck[i]
		t.WriteString("  " + printable.Name(s.Pod.String()) + ": " + printable.Name(s.Reason) + " since " + s.Since.Format(time.RFC3339) + "\n")
		for _, cause := range s.Causes {
			t.paragraph(4, "- ", cause)
		}
	}
	t.WriteString("\n")
}

func (t *auditText) embedded(a *Audit) {
	if len(a.Embedded) == 0 {
		return
	}
	t.heading("Tokens and kubeconfigs within ConfigMaps and Secrets")
	for i := range a.Embedded {
		e := &a.Embedded[i]
		text := fmt.Sprintf("%s, key %q: %s", e.Object, e.Key, e.What)
		if e.Account != "" {
			text += " of " + e.Account
		}
		text += ", " + e.Verdict
		if e.Why != "" {
			text += ": " + e.Why
		}
		t.paragraph(2, "", text)
		if e.Note != "" {
			t.paragraph(4, "- ", e.Note)
		}
	}
	t.WriteString("\n")
}

func (t *auditText) tokenless(a *Audit) {
	if a.Tokenless == nil {
		return
	}
	t.heading("Pods without a token volume")
	t.paragraph(2, "", a.Tokenless.Message)
	t.WriteString("\n")
}

func (t *auditText) accounts(a *Audit) {
	var needless []string
	for i := range a.Accounts {
		if c := &a.Accounts[i]; c.Needless {
			needless = append(needless, fmt.Sprintf("%s/%s (%s)", c.Namespace, c.Name, plural(c.Pods, "pod")))
		}
	}
	if len(needless) == 0 {
		return
	}
	t.heading("Accounts that may do nothing beyond discovery, while pods hold their tokens")
	const most = 10
	for i, name := range needless {
		if i == most {
			t.WriteString("  and " + strconv.Itoa(len(needless)-most) + " more (-o wide lists them)\n")
			break
		}
		t.paragraph(2, "", name)
	}
	t.paragraph(2, "", "As far as roles tell nobody needs these: set automountServiceAccountToken: false.")
	t.WriteString("\n")
}

func (t *auditText) incomplete(a *Audit) {
	if len(a.Incomplete) == 0 {
		return
	}
	t.heading("Not looked at")
	for _, what := range a.Incomplete {
		t.paragraph(2, "", what)
	}
	t.WriteString("\n")
}

// line sums the audit up in words.
func (a *Audit) line() string {
	s := a.summary()
	text := fmt.Sprintf("%s and %s judged by %s: ", plural(a.Judged.Pods, "pod"), plural(a.Judged.Templates, "template"), policies(a.Judged.Policies))
	if s.Deny+s.Warn+s.Audit+s.DryRun+s.Stuck+s.DeadSecrets+s.Dead == 0 {
		text += "nothing found"
		if len(a.Incomplete) > 0 {
			text += " in what could be looked at"
		}
	} else {
		text += fmt.Sprintf("%s with what is denied, %d warned about, %d recorded", plural(s.Deny, "workload"), s.Warn, s.Audit)
	}
	if s.Stuck > 0 {
		text += fmt.Sprintf("; %s stuck", plural(s.Stuck, "pod"))
	}
	if s.DeadSecrets > 0 {
		text += fmt.Sprintf("; %s dead", plural(s.DeadSecrets, "token Secret"))
	}
	if s.Dead > 0 {
		text += fmt.Sprintf("; %s dead", plural(s.Dead, "embedded credential"))
	}
	if s.Unknown > 0 {
		text += fmt.Sprintf("; %s unknown", plural(s.Unknown, "finding"))
	}
	return strings.Join(printable.Wrap(text, lineWidth), "\n")
}

func policies(n int) string {
	switch n {
	case 0:
		return "the built-in policy"
	case 1:
		return "1 policy"
	}
	return strconv.Itoa(n) + " policies"
}
