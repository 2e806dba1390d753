package strictyaml

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/json"
)

// Decode decodes the document into a struct. A field that the struct does not
// have, a field that is there twice and a value of the wrong type are errors;
// they come joined, each with its line.
func (d *Document) Decode(into any) error {
	return d.decode(into, func(path string, known []string) string {
		if word := Nearest(lastStep(path), known); word != "" {
			return fmt.Sprintf("unknown field; did you mean %q?", word)
		}
		if len(known) == 0 {
			return "unknown field"
		}
		return "unknown field; known here: " + strings.Join(known, ", ")
	})
}

// DecodeLenient decodes like Decode, but reports an unknown field only if it looks
// like a misspelled one.
func (d *Document) DecodeLenient(into any) error {
	return d.decode(into, func(path string, known []string) string {
		if word := Nearest(lastStep(path), known); word != "" {
			return fmt.Sprintf("unknown field; did you mean %q?", word)
		}
		return ""
	})
}

// Peek decodes the fields that into has, and ignores the others.
func (d *Document) Peek(into any) error {
	if err := json.UnmarshalCaseSensitivePreserveInts(d.JSON, into); err != nil {
		return d.typeError(err, into)
	}
	return nil
}

// decode calls unknown for each unknown field, with the fields that are known
// there. unknown returns the message, or "" to accept the field.
func (d *Document) decode(into any, unknown func(path string, known []string) string) error {
	strict, err := json.UnmarshalStrict(d.JSON, into)
	if err != nil {
		return d.typeError(err, into)
	}
	errs := make([]error, 0, len(strict))
	for _, e := range strict {
		path, msg := fieldPath(e), "is given twice"
		if strings.HasPrefix(e.Error(), "unknown field") {
			if msg = unknown(path, siblings(into, path)); msg == "" {
				continue
			}
		}
		errs = append(errs, d.ErrorAt(path, msg))
	}
	return errors.Join(errs...)
}

func fieldPath(err error) string {
	var fe json.FieldError
	if errors.As(err, &fe) {
		return fe.FieldPath()
	}
	return ""
}

var (
	wrongType = regexp.MustCompile(`cannot unmarshal (\w+) (?:"[^"]*" )?into Go (?:struct field \w*\.([\w.\[\]-]+)|value) of type`)
	quoted    = regexp.MustCompile(`"([^"]*)"`)
)

// typeError says in a user's words what the decoder says in Go's ("Go struct
// field").
func (d *Document) typeError(err error, into any) error {
	if m := wrongType.FindStringSubmatch(err.Error()); m != nil {
		m[2] = strings.TrimPrefix(m[2], "TypeMeta.") // it is inlined
		return d.ErrorAt(m[2], fmt.Sprintf("expected %s, found %s", expected(into, m[2]), m[1]))
	}
	// For a bad time or duration the error quotes the value, but does not say
	// where it is.
	text := strings.TrimPrefix(err.Error(), "json: ")
	values := quoted.FindAllStringSubmatch(text, -1)
	slices.SortFunc(values, func(a, b []string) int { return len(b[1]) - len(a[1]) })
	for _, m := range values {
		path, found := d.findScalar(m[1])
		if !found {
			continue
		}
		switch {
		case strings.HasPrefix(text, "parsing time"):
			text = fmt.Sprintf("expected a time such as 2027-03-31T00:00:00Z, found %q", m[1])
		case strings.HasPrefix(text, "time: "):
			text = fmt.Sprintf("expected a duration such as 30s or 5m, found %q", m[1])
		}
		return d.errorAt(d.line(path), path, text)
	}
	return d.ErrorAt("", text)
}
