package app

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const good = `
cluster: [{apiVersion: v1, kind: Secret, metadata: {name: db, namespace: shop}}]
request:
  namespace: shop
  object: {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: a, envFrom: [{secretRef: {name: db}}]}]}}
expect: {allowed: true, findings: []}
`

func writeCase(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTestCommand(t *testing.T) {
	pass := writeCase(t, "good.yaml", good)
	fail := writeCase(t, "bad.yaml", strings.Replace(good, "name: db,", "name: other,", 1))
	broken := writeCase(t, "broken.yaml", strings.Replace(good, "expect:", "expct:", 1))
	two := writeCase(t, "two.yaml", strings.Replace(good, "name: db,", "name: other,", 1)+"---"+good)
	tests := []struct {
		name     string
		args     []string
		status   int
		out, err string
	}{
		{"a case that passes", []string{"test", pass}, exitClean, "1 passed, 0 failed\n", ""},
		{"a case that fails is told readably", []string{"test", fail}, exitFindings,
			"     findings[0]: not expected: secret-exists at spec.containers[0].envFrom[0].secretRef.name: Secret shop/db is absent, action Warn\n0 passed, 1 failed\n", ""},
		{"a directory", []string{"test", filepath.Dir(pass)}, exitClean, "1 passed, 0 failed\n", ""},
		{"a broken file does not keep the others from being run", []string{"test", broken, pass}, exitFailed,
			"broken.yaml:6: document 1: expct: unknown field; did you mean \"expect\"?\n1 passed, 0 failed, 1 could not be run\n", "1 errors in case files"},
		{"no path", []string{"test"}, exitFailed, "", "give at least one case file or directory"},
		{"a path that is not there", []string{"test", "/nonexistent"}, exitFailed, "0 passed, 0 failed, 1 could not be run\n", "1 errors"},
		{"a directory without cases", []string{"test", t.TempDir()}, exitFailed, "", "there are no case files"},
		{"the cases of one name", []string{"test", "--run", "goo[dt]", pass, fail}, exitClean, "1 passed, 0 failed\n", ""},
		{"the second case of a file", []string{"test", "--run", "two.yaml#2$", two}, exitClean, "1 passed, 0 failed\n", ""},
		{"a name that no case has", []string{"test", "--run", "nothing", pass, fail}, exitFailed, "", `--run: no case matches "nothing"`},
		{"a name that no case has, beside a broken file", []string{"test", "--run", "nothing", broken, pass}, exitFailed, "0 passed, 0 failed, 1 could not be run\n", "1 errors"},
		{"a name that is no regular expression", []string{"test", "--run", "(", pass}, exitFailed, "", "--run: error parsing regexp"},
		{"a format that there is not", []string{"test", "-o", "xml", pass}, exitFailed, "", `--output: "xml" is none of json, junit, table, text, yaml`},
		{"a command that there is not", []string{"tset"}, exitFailed, "", `unknown command "tset"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			if status := Main(t.Context(), tt.args, &out, &errOut); status != tt.status {
				t.Errorf("exit status %d, want %d", status, tt.status)
			}
			if !strings.HasSuffix(out.String(), tt.out) {
				t.Errorf("printed %s\nwant    %s", out.String(), tt.out)
			}
			if !strings.Contains(errOut.String(), tt.err) || (tt.err == "" && errOut.Len() > 0) {
				t.Errorf("error %s\nwant  %s", errOut.String(), tt.err)
			}
		})
	}
}

func TestMachineFormatsAreWellFormed(t *testing.T) {
	pass, fail := writeCase(t, "good.yaml", good), writeCase(t, "bad.yaml", strings.Replace(good, "name: db,", "name: other,", 1))
	var out, errOut bytes.Buffer
	Main(t.Context(), []string{"test", "-o", "json", pass, fail}, &out, &errOut)
	var result struct{ Passed, Failed int }
	if err := json.Unmarshal(out.Bytes(), &result); err != nil || result.Passed != 1 || result.Failed != 1 {
		t.Errorf("%v: %s", err, out.String())
	}
	out.Reset()
	Main(t.Context(), []string{"test", "-o", "junit", pass, fail}, &out, &errOut)
	var suites struct {
		Suite []struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(out.Bytes(), &suites); err != nil || len(suites.Suite) != 1 || suites.Suite[0].Tests != 2 || suites.Suite[0].Failures != 1 {
		t.Errorf("%v: %s", err, out.String())
	}
}
