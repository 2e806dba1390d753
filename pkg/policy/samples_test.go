package policy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/test/samples"
)

func readSamples(t *testing.T, dir string) map[string]string {
	t.Helper()
	found, err := samples.Read(filepath.Join("..", "..", dir))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What the API server refuses is no good in a file either. The end-to-end tests
// put the same samples to a real API server.
func TestSamplesInAFile(t *testing.T) {
	compiler := NewCompiler(Checks())
	for name, text := range readSamples(t, "test/policies/invalid") {
		_, err := compiler.Parse(name, []byte(text))
		// The JSON decoder does not count the elements of lists.
		index := regexp.MustCompile(`\[[0-9]+\]`)
		where := samples.Comments(text, "want")[0]
		if err == nil || !strings.Contains(index.ReplaceAllString(err.Error(), ""), index.ReplaceAllString(where, "")) {
			t.Errorf("%s: want an error at %s, got %v", name, where, err)
		}
	}
	for _, dir := range []string{"test/policies/valid", "config/samples"} {
		for name, text := range readSamples(t, dir) {
			if _, err := compiler.Parse(name, []byte(text)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// The examples of the pages are policies that somebody may apply.
func TestThePoliciesOfThePagesCompile(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	compiled := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllSubmatch(text, -1) {
			if !regexp.MustCompile(`(?m)^kind: TokenPolicy$`).Match(m[1]) {
				continue
			}
			if _, err := NewCompiler(Checks()).Parse(page, m[1]); err != nil {
				t.Errorf("%s: %v", page, err)
			}
			compiled++
		}
	}
	if compiled == 0 {
		t.Error("no page has a policy")
	}
}

// docs/policy.md tells of every field that the CRD has.
func TestEveryFieldIsDocumented(t *testing.T) {
	read := func(path string) []byte {
		text, err := os.ReadFile(filepath.Join("..", "..", path))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	docs := string(read("docs/policy.md"))
	type schema struct {
		Properties map[string]*schema `json:"properties"`
		Items      *schema            `json:"items"`
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(read("config/crd/tokenward.dev_tokenpolicies.yaml"), &crd); err != nil {
		t.Fatal(err)
	}
	fields := 0
	var walk func(name string, s *schema)
	walk = func(name string, s *schema) {
		if s == nil || s.Properties["matchLabels"] != nil || name == "conditions" {
			return // a LabelSelector and a Condition are Kubernetes' own
		}
		for child, sub := range s.Properties {
			fields++
			if !regexp.MustCompile("`([a-zA-Z.\\[\\]]*\\.)?" + child + "(\\[\\])?`|\\." + child + "(\\[\\])?[.`]").MatchString(docs) {
				t.Errorf("docs/policy.md does not tell of %s.%s", name, child)
			}
			walk(child, sub)
			walk(child, sub.Items)
		}
	}
	walk("spec", crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"])
	walk("status", crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"])
	if fields < 30 {
		t.Errorf("only %d fields", fields)
	}
}
