package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"tokenward.dev/tokenward/pkg/printable"
)

// TestResult is the result of one case.
type TestResult struct {
	// Name of the case: the path of its file.
	Name string `json:"name"`
	// Differences between the verdict and what the case expects; none if it passes.
	Differences []string `json:"differences,omitempty"`
	// Error says why the case could not be run, if it could not.
	Error string `json:"error,omitempty"`
}

// Failed reports whether the case ran and failed.
func (r TestResult) Failed() bool { return len(r.Differences) > 0 }

// broken reports whether the case could not be run.
func (r TestResult) broken() bool { return r.Error != "" }

func count(results []TestResult, is func(TestResult) bool) int {
	n := 0
	for _, r := range results {
		if is(r) {
			n++
		}
	}
	return n
}

// testText is for people: the cases that fail, and a line that sums up.
func testText(w io.Writer, results []TestResult, _ Options) error {
	var b strings.Builder
	for _, r := range results {
		if r.broken() {
			fmt.Fprintf(&b, "ERROR %s\n", printable.Lines(r.Error))
		}
		if r.Failed() {
			fmt.Fprintf(&b, "FAIL %s\n", printable.Name(r.Name))
		}
		for _, d := range r.Differences {
			fmt.Fprintf(&b, "     %s\n", printable.Lines(d))
		}
	}
	failed, broken := count(results, TestResult.Failed), count(results, TestResult.broken)
	fmt.Fprintf(&b, "%d passed, %d failed", len(results)-failed-broken, failed)
	if broken > 0 {
		fmt.Fprintf(&b, ", %d could not be run", broken)
	}
	_, err := io.WriteString(w, b.String()+"\n")
	return err
}

// testDocument is the results as JSON and YAML have them.
type testDocument struct {
	Passed int          `json:"passed"`
	Failed int          `json:"failed"`
	Errors int          `json:"errors"`
	Cases  []TestResult `json:"cases"`
}

func documentOf(results []TestResult) testDocument {
	failed, broken := count(results, TestResult.Failed), count(results, TestResult.broken)
	if results == nil {
		results = []TestResult{}
	}
	return testDocument{len(results) - failed - broken, failed, broken, results}
}

func testJSON(w io.Writer, results []TestResult, _ Options) error {
	return encodeJSON(w, documentOf(results))
}

func testYAML(w io.Writer, results []TestResult, _ Options) error {
	return encodeYAML(w, documentOf(results))
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	ClassName string        `xml:"classname,attr"`
	Name      string        `xml:"name,attr"`
	File      string        `xml:"file,attr,omitempty"`
	Failure   *junitFailure `xml:"failure"`
	Error     *junitFailure `xml:"error"`
	Output    string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// testJUnit is the XML that CI systems read.
func testJUnit(w io.Writer, results []TestResult, _ Options) error {
	suite := junitSuite{Name: "tokenward", Tests: len(results), Failures: count(results, TestResult.Failed), Errors: count(results, TestResult.broken)}
	for _, r := range results {
		c := junitCase{ClassName: "tokenward", Name: printable.Name(r.Name)}
		if r.Failed() {
			c.Failure = &junitFailure{Message: printable.Lines(r.Differences[0]), Text: printable.Lines(strings.Join(r.Differences, "\n"))}
		}
		if r.broken() {
			c.Error = &junitFailure{Message: printable.Lines(r.Error), Text: printable.Lines(r.Error)}
		}
		suite.Cases = append(suite.Cases, c)
	}
	return writeSuite(w, &suite)
}
