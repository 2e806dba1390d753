package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/printable"
)

// writeJUnit has a test case for each object. It fails for the findings at or
// above FailOn; the others are its output.
func writeJUnit(w io.Writer, r *Report, o Options) error {
	failOn := o.FailOn
	if failOn == "" {
		failOn = v1alpha1.Warn
	}
	suite := junitSuite{Name: "tokenward", Tests: len(r.Objects)}
	results := map[Object][]*Result{}
	for i := range r.Results {
		key := r.Results[i].Subject.key()
		results[key] = append(results[key], &r.Results[i])
	}
	for i := range r.Objects {
		object := &r.Objects[i]
		c := junitCase{ClassName: printable.WholeName(object.Kind), Name: printable.WholeName(object.String())}
		if object.Source != nil {
			c.File = printable.WholeName(object.Source.File)
			c.ClassName = c.File
		}
		var failures, others []string
		for _, f := range results[object.key()] {
			if failOn != v1alpha1.None && f.atLeast(failOn) {
				failures = append(failures, f.line())
			} else {
				others = append(others, f.line())
			}
		}
		if len(failures) > 0 {
			suite.Failures++
			c.Failure = &junitFailure{Message: failures[0], Text: strings.Join(failures, "\n")}
		}
		c.Output = strings.Join(others, "\n")
		suite.Cases = append(suite.Cases, c)
	}
	for i := range r.Errors {
		text := printable.Lines(r.Errors[i].String())
		suite.Tests++
		suite.Errors++
		suite.Cases = append(suite.Cases, junitCase{ClassName: "tokenward", Name: "not read", Error: &junitFailure{Message: text, Text: text}})
	}
	return writeSuite(w, &suite)
}

// key is the object without pointers, so that maps can have it.
func (o *Object) key() Object {
	key := *o
	if o.Source != nil {
		key.Template = fmt.Sprintf("%s:%d:%d", o.Source.File, o.Source.Line, o.Source.Column)
	}
	key.Source = nil
	return key
}

// line tells all of a finding in one line.
func (f *Result) line() string {
	where := ""
	if f.Source != nil {
		where = fmt.Sprintf("%s:%d: ", printable.WholeName(f.Source.File), f.Source.Line)
	}
	text := where + f.label() + " " + f.Check + ": " + printable.Text(f.Message, printable.Whole)
	if more := f.remarks(); len(more) > 0 {
		text += " (" + strings.Join(more, "; ") + ")"
	}
	return text
}

func writeSuite(w io.Writer, suite *junitSuite) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(struct {
		XMLName xml.Name `xml:"testsuites"`
		Suite   *junitSuite
	}{Suite: suite}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
