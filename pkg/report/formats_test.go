package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

func secret(name string) About { return About{Kind: "Secret", Namespace: "shop", Name: name} }

func example() *Report {
	web := Object{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "web", Source: &Position{"deploy/my web.yaml", 4, 1}}
	live := Object{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "db-0", UID: "42"}
	r := &Report{
		Objects: []Object{web, live, {APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "clean"}},
		Results: []Result{
			{
				Check: "secret-exists", Action: v1alpha1.Deny, State: "absent", Subject: web, About: About{Kind: "Secret", Namespace: "shop", Name: "db"}, Path: "spec.template.spec.volumes[0].secret.secretName",
				Message: `Secret "db" (spec.template.spec.volumes[0].secret.secretName) does not exist: the pod will hang in ContainerCreating. Create it, or correct the name.`,
				Source:  &Position{"deploy/my web.yaml", 23, 25}, Policies: []string{"payments"}, Notes: []string{"a <note> & more"},
			},
			{
				Check: "config-map-exists", Action: v1alpha1.Audit, State: "unknown", Subject: live, About: About{Kind: "ConfigMap", Namespace: "shop", Name: "site"}, Path: "spec.volumes[1].configMap.name",
				Message: "not known", When: "at the next restart", Exempted: "moves in Q1",
			},
			{Check: "token-valid", State: "present", Subject: live, About: About{Kind: "Secret", Namespace: "shop", Name: "token"}, Path: "spec.volumes[2].secret.secretName", Message: "dead", Would: v1alpha1.Warn, WouldPolicies: []string{"trial"}},
		},
		Provided: []Provided{
			{secret("tls"), "Certificate shop/web", false}, {secret("api"), "ExternalSecret shop/api", false}, {secret("api"), "ExternalSecret shop/api", false},
			{secret("ca"), "Job shop/init", true},
		},
	}
	r.Sort()
	return r
}

func write(t *testing.T, format string, r *Report, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Formats()[format](&b, r, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTableReadsWellAt80Columns(t *testing.T) {
	want := `DENY  Secret shop/db (secret-exists)
      Secret "db" does not exist: the pod will hang in ContainerCreating. Create
      it, or correct the name.
      - Deployment shop/web
        deploy/my web.yaml:23:25: spec.template.spec.volumes[0].secret.secretName
        by TokenPolicy payments
        a <note> & more

AUDIT ConfigMap shop/site (config-map-exists)
      not known
      - Pod shop/db-0, spec.volumes[1].configMap.name
        bites at the next restart
        exempted: moves in Q1

NONE  Secret shop/token (token-valid)
      dead
      - Pod shop/db-0, spec.volumes[2].secret.secretName
        dry run: Warn by TokenPolicy trial

Not written down, but made by something that is:
  Secret shop/api by ExternalSecret shop/api
  Secret shop/tls by Certificate shop/web

Not written down, and likely made by:
  Secret shop/ca by Job shop/init

secret-exists             1 object, 1 finding
config-map-exists         1 object, 1 finding
token-valid               1 object, 1 finding

3 objects judged: 1 denied, 0 warned about, 1 recorded; dry run: 1; 1 likely
made (1 of the findings unknown)
`
	if got := write(t, "table", example(), Options{}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := write(t, "table", &Report{Objects: make([]Object, 1)}, Options{}); got != "1 object judged: nothing found\n" {
		t.Errorf("without findings: %s", got)
	}
	if got := write(t, "table", example(), Options{Colour: true}); !strings.Contains(got, "\x1b[31mDENY \x1b[0m") {
		t.Errorf("no colour in %q", got)
	}
}

func TestWideHasOneLineAFinding(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(write(t, "wide", example(), Options{})), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "ACTION") || !strings.Contains(lines[3], "deploy/my web.yaml:23") ||
		!strings.HasPrefix(lines[2], "none ") || !strings.Contains(lines[1], "spec.volumes[1].configMap.name") {
		t.Errorf("%s", strings.Join(lines, "\n"))
	}
}

func TestJSONAndYAMLSayTheSame(t *testing.T) {
	text := write(t, "json", example(), Options{})
	fromYAML, err := yaml.YAMLToJSON([]byte(write(t, "yaml", example(), Options{})))
	if err != nil {
		t.Fatal(err)
	}
	var a, b document
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(fromYAML, &b); err != nil {
		t.Fatal(err)
	}
	x, _ := json.Marshal(a)
	if y, _ := json.Marshal(b); !bytes.Equal(x, y) {
		t.Errorf("JSON %s\nYAML %s", x, y)
	}
	want := summary{Objects: 3, Deny: 1, Audit: 1, Unknown: 1, DryRun: 1, Made: 2, LikelyMade: 1}
	if a.APIVersion != "tokenward.dev/v1alpha1" || a.Kind != "Report" || a.Summary != want || len(a.Results) != 3 || len(a.Provided) != 3 || len(a.Checks) != 3 {
		t.Errorf("%+v", a)
	}
	if a.Results[2].Source == nil || a.Results[2].Source.Line != 23 || a.Results[2].Subject.Source.Line != 4 {
		t.Errorf("positions are lost: %+v", a.Results[2])
	}
	if empty := write(t, "json", &Report{}, Options{}); !strings.Contains(empty, `"results": []`) {
		t.Errorf("without findings: %s", empty)
	}
}

// sarifSchema is the schema of OASIS. The library that reads SARIF has it in
// its source, for itself alone.
func sarifSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/owenrumney/go-sarif/v3").Output()
	if err != nil {
		t.Fatalf("where is the schema: %v", err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "pkg/report/v210/sarif/schema.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && schema == nil && err == nil {
			var text string
			if text, err = strconv.Unquote(literal.Value); err == nil {
				schema, err = jsonschema.UnmarshalJSON(strings.NewReader(text))
			}
		}
		return true
	})
	compiler := jsonschema.NewCompiler()
	compiled, compileErr := (*jsonschema.Schema)(nil), compiler.AddResource("sarif.json", schema)
	if compileErr == nil {
		compiled, compileErr = compiler.Compile("sarif.json")
	}
	if err := errors.Join(err, compileErr); err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestSARIFPassesItsSchema(t *testing.T) {
	schema := sarifSchema(t)
	valid := func(text string) error {
		log, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			return err
		}
		return schema.Validate(log)
	}
	for name, r := range map[string]*Report{"with findings": example(), "without": {}} {
		text := write(t, "sarif", r, Options{Version: "v1.2.3"})
		if err := valid(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		log, err := sarif.FromBytes([]byte(text))
		if err != nil || len(log.Runs) != 1 || len(log.Runs[0].Results) != len(r.Results) {
			t.Errorf("%s: a library that reads SARIF: %v", name, err)
		}
	}
	if valid(`{"version": "2.1.0"}`) == nil {
		t.Error("the schema takes anything")
	}
}

func TestSARIFTellsLevelPlaceAndFingerprint(t *testing.T) {
	first := example()
	moved := example()
	moved.Results[2].Source.Line += 10
	var logs [2]sarifLog
	for i, r := range []*Report{first, moved} {
		if err := json.Unmarshal([]byte(write(t, "sarif", r, Options{})), &logs[i]); err != nil {
			t.Fatal(err)
		}
	}
	results := logs[0].Runs[0].Results
	levels := []string{results[0].Level, results[1].Level, results[2].Level}
	if strings.Join(levels, " ") != "note note error" {
		t.Errorf("levels %v: dry run must not fail a scan", levels)
	}
	if results[0].Locations[0].Physical != nil || results[0].Locations[0].Logical[0].Full != "Pod shop/db-0 spec.volumes[1].configMap.name" {
		t.Errorf("a live object is in no file: %+v", results[0].Locations)
	}
	at := results[2].Locations[0].Physical
	if at == nil || at.Artifact.URI != "deploy/my%20web.yaml" || at.Artifact.Base != "%SRCROOT%" || at.Region.Line != 23 || at.Region.Column != 25 {
		t.Errorf("place: %+v", at)
	}
	if rules := logs[0].Runs[0].Tool.Driver.Rules; rules[*results[2].RuleIndex].ID != "secret-exists" || rules[0].Help.Markdown == "" {
		t.Errorf("rules: %+v", rules)
	}
	seen := map[string]bool{}
	for i := range results {
		mark := results[i].PartialFingerprints[fingerprint]
		if mark == "" || seen[mark] || mark != logs[1].Runs[0].Results[i].PartialFingerprints[fingerprint] {
			t.Errorf("fingerprint %q: it must be there, be its own, and stay when lines move", mark)
		}
		seen[mark] = true
	}
}

func TestJUnitHasACaseForEachObject(t *testing.T) {
	var suites struct {
		Suite junitSuite `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(write(t, "junit", example(), Options{})), &suites); err != nil {
		t.Fatal(err)
	}
	s := suites.Suite
	if s.Tests != 3 || s.Failures != 1 || len(s.Cases) != 3 {
		t.Fatalf("%+v", s)
	}
	last := s.Cases[2]
	if last.File != "deploy/my web.yaml" || last.Failure == nil || !strings.HasPrefix(last.Failure.Message, "deploy/my web.yaml:23: Deny secret-exists: ") {
		t.Errorf("%+v", last)
	}
	if s.Cases[1].Failure != nil || !strings.Contains(s.Cases[1].Output, "not known") {
		t.Errorf("a recorded finding is output, not a failure: %+v", s.Cases[1])
	}
}

func TestAtLeastCountsWhatIsInForce(t *testing.T) {
	r := example()
	if !r.AtLeast(v1alpha1.Deny) || !r.AtLeast(v1alpha1.Audit) {
		t.Error("the Deny is not seen")
	}
	r.Results = r.Results[:2] // Audit, and a dry run
	if r.AtLeast(v1alpha1.Warn) || !r.AtLeast(v1alpha1.Audit) {
		t.Error("a dry run counts, or a recorded finding does not")
	}
}

// A message of an API server and a name in a manifest are anybody's words.
func TestFilesHaveWholeNames(t *testing.T) {
	name := strings.Repeat("n", 5000) + "-end"
	pod := Object{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: name}
	r := &Report{
		Objects: []Object{pod}, Errors: []Problem{{Message: "not read: " + name}},
		Results: []Result{{
			Check: "secret-exists", Action: v1alpha1.Warn, State: "absent", Subject: pod, About: secret(name), Path: "spec.volumes[0].secret.secretName",
			Message: `Secret "` + name + `" does not exist`, Notes: []string{"a note on " + name},
		}},
	}
	for format, want := range map[string]int{"json": 5, "yaml": 5, "sarif": 6, "junit": 7, "gitlab": 4} {
		text := write(t, format, r, Options{})
		if format == "yaml" {
			text = strings.ReplaceAll(strings.ReplaceAll(text, "\n", ""), " ", "")
		}
		if got := strings.Count(text, name); got != want {
			t.Errorf("%s: the whole name %d times, want %d", format, got, want)
		}
	}
}

func TestNothingStrangeReachesATerminalOrALogOfCI(t *testing.T) {
	const strange = "\x1b[2J\x07\u009b\u202e\xff"
	evil := Object{APIVersion: "v1", Kind: "Pod", Name: "a" + strange, Template: "t\r" + strange, Source: &Position{"f\n.yaml", 1, 1}}
	r := &Report{Objects: []Object{evil}, Results: []Result{{
		Check: "token-valid", Action: v1alpha1.Warn, Subject: evil, About: About{Kind: "Secret", Name: strange}, Message: strange + "m", Notes: []string{"n" + strange}, Source: &Position{"f\n.yaml", 2, 1},
	}}, Provided: []Provided{{Object: About{Kind: "Secret", Name: strange}, By: strange + "x"}}, Errors: []Problem{{&Position{"f\n.yaml", 1, 1}, strange}, {nil, strange}}, Unjudged: []Unjudged{{strange, strange, 1, ""}}}
	for _, format := range []string{"table", "text", "wide", "junit", "sarif", "github", "gitlab"} {
		if text := write(t, format, r, Options{}); strings.ContainsAny(text, "\x1b\x07\r\u009b\u202e\ufffd") || strings.Contains(text, "f\n.yaml") {
			t.Errorf("%s: %+q", format, text)
		}
	}
	results := []TestResult{{Name: "a" + strange, Differences: []string{"got\n" + strange}}, {Name: "b", Error: strange}}
	for _, format := range []string{"text", "junit"} {
		var b bytes.Buffer
		if err := TestFormats()[format](&b, results, Options{}); err != nil {
			t.Fatal(err)
		}
		if text := b.String(); strings.ContainsAny(text, "\x1b\x07\u009b\u202e\ufffd") {
			t.Errorf("results as %s: %+q", format, text)
		}
	}
}

func TestGitHubGetsWorkflowCommandsAndNoOthers(t *testing.T) {
	r := example()
	r.Results[2].Message += "\n::error::forged %0A"
	r.Results[2].Subject.Name = "a,b::c"
	got := strings.Split(strings.TrimSpace(write(t, "github", r, Options{})), "\n")
	want := []string{
		"::notice title=config-map-exists%3A ConfigMap shop/site::Pod shop/db-0: not known%0Abites at the next restart%0Aexempted: moves in Q1",
		"::notice title=token-valid%3A Secret shop/token::Pod shop/db-0: dead%0Adry run: Warn by TokenPolicy trial",
		`::error file=deploy/my web.yaml,line=23,col=25,title=secret-exists%3A Secret shop/db::Deployment shop/a,b::c: Secret "db" (spec.template.spec.volumes[0].secret.secretName)` +
			" does not exist: the pod will hang in ContainerCreating. Create it, or correct the name.%0A: :error::forged %250A%0Aby TokenPolicy payments%0Aa <note> & more",
	}
	if len(got) != 4 || !slices.Equal(got[:3], want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestGitLabHasAFingerprintAndALineForEach(t *testing.T) {
	var all []gitlabFinding
	if err := json.Unmarshal([]byte(write(t, "gitlab", example(), Options{})), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 3 || all[2].Severity != "major" || all[2].Location.Path != "deploy/my web.yaml" || all[2].Location.Lines.Begin != 23 || all[2].CheckName != "secret-exists" {
		t.Errorf("%+v", all)
	}
	for _, f := range all {
		if f.Fingerprint == "" || f.Description == "" || f.Location.Path == "" || f.Location.Lines.Begin < 1 {
			t.Errorf("%+v", f)
		}
	}
	if empty := write(t, "gitlab", &Report{}, Options{}); strings.TrimSpace(empty) != "[]" {
		t.Errorf("without findings: %s", empty)
	}
}

func TestWhatIsAcceptedCountsNowhereElse(t *testing.T) {
	r := example()
	r.Results[2].Accepted = "Terraform makes it"
	if r.AtLeast(v1alpha1.Warn) || r.summary().Accepted != 1 || r.summary().Deny != 0 {
		t.Errorf("%+v", r.summary())
	}
	for _, format := range []string{"table", "github", "gitlab"} {
		if got := write(t, format, r, Options{}); strings.Contains(got, "secret-exists") {
			t.Errorf("%s shows it: %s", format, got)
		}
	}
	if got := write(t, "sarif", r, Options{}); !strings.Contains(got, `"justification": "Terraform makes it"`) {
		t.Errorf("SARIF does not suppress it: %s", got)
	}
}

func TestOneMissingObjectIsOneBlock(t *testing.T) {
	r := &Report{Files: true, Manifests: 40}
	for i := range 30 {
		o := Object{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "p" + strconv.Itoa(i), Source: &Position{"a.yaml", i + 1, 1}}
		r.Objects = append(r.Objects, o)
		r.Results = append(r.Results, Result{Check: "secret-exists", Action: v1alpha1.Warn, State: "absent", Subject: o, About: secret("db"), Message: "is missing", Source: o.Source})
	}
	got := write(t, "table", r, Options{})
	if strings.Count(got, "Secret shop/db") != 1 || !strings.Contains(got, "and 10 more") || !strings.Contains(got, "secret-exists             1 object, 30 findings\n\n30 objects judged of 40 manifests: 0 denied, 30 warned about") {
		t.Errorf("%s", got)
	}
}
