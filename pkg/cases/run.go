package cases

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/policy/rewrite"
	"tokenward.dev/tokenward/pkg/source"
)

// VerdictOn judges a review by the policies and the cluster of the case.
func (c *Case) VerdictOn(review *policy.Attributes) policy.Verdict {
	if c.guarded != nil {
		return c.guardedVerdict()
	}
	review.Now, review.Hold = c.now, policy.WillHold
	plan := c.snapshot.Plan(review)
	return plan.Judge(source.Answer(c.cluster, c.now, plan.Needs))
}

// MutationOf tells what the policies change of the pod of a review.
func (c *Case) MutationOf(review *policy.Attributes) rewrite.Result {
	review.Now, review.Hold = c.now, policy.WillHold
	plan := rewrite.New(c.snapshot, review)
	return plan.Result(source.Answer(c.cluster, c.now, plan.Needs))
}

// Review returns the request of the case.
func (c *Case) Review() *policy.Attributes { return c.review }

// Snapshot returns the policies of the case.
func (c *Case) Snapshot() *policy.Snapshot { return c.snapshot }

// Now returns the time of the judgement.
func (c *Case) Now() time.Time { return c.now }

// Run judges the request and returns, in readable lines, where the verdict is
// not as expected. None means that the case passes.
func (c *Case) Run() []string {
	o, err := c.Outcome()
	if err != nil {
		return []string{err.Error()}
	}
	return c.File.Expect.Differences(o)
}

// Differences returns where an outcome is not as expected.
func (e *Expect) Differences(o *Outcome) []string {
	var d differences
	if e.Allowed != nil && *e.Allowed != o.Allowed {
		d.add("allowed", *e.Allowed, o.Allowed)
		if o.Message != "" {
			d = append(d, "refused with: "+o.Message)
		}
	}
	if e.Findings != nil {
		d.findings(*e.Findings, o.Findings)
	}
	if e.Warnings != nil {
		d.lines("warnings", *e.Warnings, o.AllWarnings())
	}
	if e.AuditAnnotations != nil {
		d.annotations(*e.AuditAnnotations, o.AllAnnotations())
	}
	if e.Patched != nil {
		d.patched(e.Patched, o.Object)
	}
	return d
}

type differences []string

func (d *differences) add(where string, want, got any) {
	*d = append(*d, fmt.Sprintf("%s: expected %v, got %v", where, want, got))
}

func (d *differences) findings(want []Finding, got []policy.Finding) {
	for i := range max(len(want), len(got)) {
		at := fmt.Sprintf("findings[%d]", i)
		switch {
		case i >= len(want):
			*d = append(*d, at+": not expected: "+describe(&got[i]))
		case i >= len(got):
			*d = append(*d, at+": expected, but not found: "+want[i].describe())
		default:
			d.finding(at, &want[i], &got[i])
		}
	}
}

func (d *differences) finding(at string, want *Finding, got *policy.Finding) {
	for _, f := range []struct {
		name string
		want *string
		got  string
	}{
		{"check", want.Check, got.Check},
		{"path", want.Path, got.Path},
		{"object", want.Object, got.Object.String()},
		{"subject", want.Subject, got.Subject},
		{"action", want.Action, string(got.Action)},
		{"state", want.State, got.State.String()},
		{"message", want.Message, got.Message},
	} {
		if f.want != nil && *f.want != f.got {
			d.add(at+"."+f.name, fmt.Sprintf("%q", *f.want), fmt.Sprintf("%q", f.got))
		}
	}
}

func (d *differences) lines(where string, want, got []string) {
	for i := range max(len(want), len(got)) {
		at := fmt.Sprintf("%s[%d]", where, i)
		switch {
		case i >= len(want):
			*d = append(*d, at+": not expected: "+got[i])
		case i >= len(got):
			*d = append(*d, at+": expected, but not given: "+want[i])
		case want[i] != got[i]:
			d.add(at, fmt.Sprintf("%q", want[i]), fmt.Sprintf("%q", got[i]))
		}
	}
}

func (d *differences) annotations(want, got map[string]string) {
	keys := slices.Sorted(maps.Keys(want))
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		w, expected := want[k]
		g, given := got[k]
		at := "auditAnnotations." + k
		switch {
		case !expected:
			*d = append(*d, at+": not expected: "+g)
		case !given:
			*d = append(*d, at+": expected, but not given: "+w)
		case w != g:
			d.add(at, w, g)
		}
	}
}

func describe(f *policy.Finding) string {
	about := ""
	if f.Subject != "" {
		about = " of " + f.Subject
	}
	return fmt.Sprintf("%s at %s%s: %s is %s, action %s", f.Check, f.Path, about, f.Object, f.State, f.Action)
}

func (f *Finding) describe() string {
	text := ""
	for _, part := range []*string{f.Check, f.Path, f.Object, f.Subject, f.State, f.Action, f.Message} {
		if part != nil {
			text += *part + " "
		}
	}
	return text
}
