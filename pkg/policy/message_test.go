package policy

import (
	"strconv"
	"strings"
	"testing"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

func TestMessagesFitWhateverTheNames(t *testing.T) {
	long := strings.Repeat("n", 253)
	evil := strings.Repeat("\"\n\t", 80)
	for _, name := range []string{"db", long, evil, strings.Repeat("é", 200)} {
		r := &reference.Reference{
			Kind: reference.ConfigMap, Name: name, Use: reference.UseEnv,
			Path: "spec.jobTemplate.spec.template.spec.initContainers[12].env[103].valueFrom.configMapKeyRef.name",
			Keys: []reference.Key{{Name: name, Path: "spec.jobTemplate.spec.template.spec.initContainers[12].env[103].valueFrom.configMapKeyRef.key"}, {Name: "b"}},
		}
		id := strings.Repeat("x", maxCheckID)
		for _, text := range []string{
			missingText(r, facts.NotGiven, func(quote func(string) string) string { return "Use " + quote(name) + "." }),
			missingKeyText(r, r.Keys),
			unknownText(r, r.Path, "it is", facts.Forbidden),
			unknownText(r, r.Path, "it is", facts.Unauthorized),
			unknownProviderText(r, facts.NotGiven, facts.Object{Name: name}, facts.Timeout),
		} {
			if !strings.Contains(text, strconv.QuoteToASCII(name)) {
				t.Errorf("a name that is not whole: %q", text)
			}
			text = shorten(id, text)
			if len(id)+2+len(text) > MaxMessage || strings.ContainsAny(text, "\n\r\t") {
				t.Errorf("%d characters: %q", len(text), text)
			}
		}
	}
}

func TestNamesAreAbbreviatedInTheMiddle(t *testing.T) {
	name := strings.Repeat("a", 150) + `"\` + strings.Repeat("z", 150)
	got := Message(func(quote func(string) string) string { return "Secret " + quote(name) + " and \"db\" are there." })
	want := `Secret "` + strings.Repeat("a", 38) + "..." + strings.Repeat("z", 38) + `" and "db" are there.`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestJoinLinesSaysHowManyDidNotFit(t *testing.T) {
	if got := joinLines([]string{"one"}, 100); got != "one" {
		t.Errorf("got %q", got)
	}
	if got := joinLines([]string{"one", "two"}, 100); got != "2 findings: (1) one (2) two" {
		t.Errorf("got %q", got)
	}
	lines := make([]string, 100)
	for i := range lines {
		lines[i] = strings.Repeat("x", 200)
	}
	got := joinLines(lines, maxDenial)
	if len(got) > maxDenial || !strings.HasSuffix(got, " and 97 more") {
		t.Errorf("%d characters: %q", len(got), got)
	}
}

func TestFitWarningsKeepsTheAPIServerFromCutting(t *testing.T) {
	lines := make([]string, 100)
	for i := range lines {
		lines[i] = strings.Repeat("x", 250)
	}
	got := FitWarnings(lines)
	total := 0
	for _, l := range got {
		total += len(l)
	}
	if total > maxWarnings || got[len(got)-1] != "84 more findings; see the audit log" || len(got) != 17 {
		t.Errorf("%d lines, %d characters, last %q", len(got), total, got[len(got)-1])
	}
	if got := FitWarnings(lines[:3]); len(got) != 3 {
		t.Errorf("got %d lines", len(got))
	}
}
