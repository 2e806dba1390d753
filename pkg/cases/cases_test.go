package cases

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
)

// corpus is the directory of the decisions that Tokenward stands by.
const corpus = "../../test/cases"

func TestCorpus(t *testing.T) {
	all, err := Load(corpus)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 150 {
		t.Errorf("the corpus has %d cases, want at least 150", len(all))
	}
	for _, c := range all {
		name, _ := filepath.Rel(corpus, c.Name)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			for _, d := range c.Run() {
				t.Error(d)
			}
		})
	}
}

// Every check has cases that pass, that fail (for what is absent, or for what is
// there and wrong), and that don't know, unless the pod alone says it all.
func TestEveryCheckIsShown(t *testing.T) {
	checks := policy.Checks()
	for i := range checks {
		id := checks[i].ID
		all, err := Load(filepath.Join(corpus, id))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, c := range all {
			v, err := c.Outcome()
			if err != nil {
				t.Fatal(err)
			}
			if len(v.Findings) == 0 {
				seen["pass"] = true
			}
			for _, f := range v.Findings {
				if f.Check == id {
					seen[map[bool]string{true: "unknown", false: "fail"}[f.State == facts.Unknown]] = true
				}
				if line := id + ": " + f.Message; len(line) > policy.MaxMessage || strings.ContainsAny(f.Message, "\n\r") {
					t.Errorf("%s: a message of %d characters, or with a line break: %q", c.Name, len(line), f.Message)
				}
				if strings.HasPrefix(id, "token-") && strings.HasSuffix(f.Message, "...") {
					t.Errorf("%s: the cure is cut off: %q", c.Name, f.Message)
				}
			}
		}
		for _, kind := range []string{"pass", "fail", "unknown"} {
			if kind == "unknown" && checks[i].Subject == policy.OfWrites {
				continue // the request tells all
			}
			if !seen[kind] && (kind != "unknown" || checks[i].Needs != nil) {
				t.Errorf("%s: no case shows %q", id, kind)
			}
		}
	}
}

// docs/compositions.md is made of these: a file a rule.
func TestTheCompositionsShowEachRule(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpus, "compositions", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, file := range files {
		all, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if total += len(all); len(all) < 3 {
			t.Errorf("%s: %d cases show the rule, want 3", file, len(all))
		}
	}
	if total < 40 {
		t.Errorf("%d cases, want 40", total)
	}
}

func TestWhyOfWhatIsUnknownIsOneOfTheSet(t *testing.T) {
	for why, want := range map[string]string{
		"too many look-ups": "", "too many references": "",
		"forbidden": `unknown[0].why: "forbidden" is neither "too many references" nor "too many look-ups"`,
	} {
		_, err := Parse("c.yaml", []byte("unknown: [{kind: Secret, namespace: shop, name: db, why: "+why+"}]\nrequest: {object: {apiVersion: v1, kind: Pod}}\nexpect: {allowed: true}\n"))
		if got := fmt.Sprint(err); (want == "" && err != nil) || !strings.Contains(got, want) {
			t.Errorf("%s: %s", why, got)
		}
	}
}

// What policies change of a pod they do not change again: the API server invokes
// the webhook once more when another one has changed the pod.
func TestASecondMutationChangesNothing(t *testing.T) {
	all, err := Load(filepath.Join(corpus, "mutation"))
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for _, c := range all {
		o, err := c.Outcome()
		if err != nil {
			t.Fatal(err)
		}
		if o.Mutation == nil || len(o.Mutation.Operations) == 0 {
			continue
		}
		changed++
		review, err := c.reviewOf(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		again := c.MutationOf(review)
		if len(again.Operations) > 0 {
			t.Errorf("%s: the second run does %+v", c.Name, again.Operations)
		}
		if first, second := o.Mutation.AuditAnnotations(), again.AuditAnnotations(); second["patch"] != "" && second["patch"] != first["patch"] {
			t.Errorf("%s: two values under one key of the audit log: %s and %s", c.Name, first["patch"], second["patch"])
		}
	}
	if changed < 40 {
		t.Errorf("only %d cases change anything", changed)
	}
}
