package report

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

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
func testText(w io.Writer, results []TestResult) error {
	var b strings.Builder
	for _, r := range results {
		if r.Broken() {
			fmt.Fprintf(&b, "ERROR %s\n", r.Error)
		}
		if r.Failed() {
			fmt.Fprintf(&b, "FAIL %s\n", r.Name)
		}
		for _, d := range r.Differences {
			fmt.Fprintf(&b, "     %s\n", d)
		}
	}
	failed, broken := count(results, TestResult.Failed), count(results, TestResult.Broken)
	fmt.Fprintf(&b, "%d passed, %d failed", len(results)-failed-broken, failed)
	if broken > 0 {
		fmt.Fprintf(&b, ", %d could not be run", broken)
	}
	_, err := io.WriteString(w, b.String()+"\n")
	return err
}

func testJSON(w io.Writer, results []TestResult) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	failed, broken := count(results, TestResult.Failed), count(results, TestResult.Broken)
	if results == nil {
		results = []TestResult{}
	}
	return encoder.Encode(struct {
		Passed int          `json:"passed"`
		Failed int          `json:"failed"`
		Errors int          `json:"errors"`
		Cases  []TestResult `json:"cases"`
	}{len(results) - failed - broken, failed, broken, results})
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
func testJUnit(w io.Writer, results []TestResult) error {
	suite := junitSuite{Name: "tokenward", Tests: len(results), Failures: count(results, TestResult.Failed), Errors: count(results, TestResult.Broken)}
	for _, r := range results {
		c := junitCase{ClassName: "tokenward", Name: r.Name}
		if r.Failed() {
			c.Failure = &junitFailure{Message: r.Differences[0], Text: strings.Join(r.Differences, "\n")}
		}
		if r.Broken() {
			c.Error = &junitFailure{Message: r.Error, Text: r.Error}
		}
		suite.Cases = append(suite.Cases, c)
	}
	return writeSuite(w, &suite)
}
