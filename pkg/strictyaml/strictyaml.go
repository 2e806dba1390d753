// Package strictyaml reads YAML and JSON files that people write by hand, and
// says what is wrong in their terms: the file, the document, the line, the
// field, and the nearest word that would have been right.
//
// It is pure, and it may import nothing of ours. go.yaml.in/yaml and
// sigs.k8s.io/json do the decoding; this package adds the positions.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Document is one document of a file.
type Document struct {
	// Source names the file in messages; Index counts its documents from 1.
	Source string
	Index  int
	// JSON is the content of the document.
	JSON []byte

	text   []byte
	first  int    // line of the file at which text starts, counted from 1
	prefix string // path of a part within the whole document
	// root returns the document as a tree with positions, or nil where the
	// document is not YAML. It parses once, when it is first called.
	root func() *yaml.Node
}

// Part returns a part of the document as a document of its own. Its messages
// name the place in the whole document.
func (d *Document) Part(path string, content []byte) Document {
	part := *d
	part.JSON, part.prefix = content, join(d.prefix, path)
	return part
}

// ErrorAt returns an error about the field at path ("spec.checks[0].name")
// that names the file, the document, and the line at which the field stands.
func (d *Document) ErrorAt(path, message string) error {
	path = join(d.prefix, path)
	return d.errorAt(d.line(path), path, message)
}

// FieldErrors places the errors of a validation in the document.
func (d *Document) FieldErrors(list field.ErrorList) error {
	errs := make([]error, 0, len(list))
	for _, e := range list {
		errs = append(errs, d.ErrorAt(e.Field, e.ErrorBody()))
	}
	return errors.Join(errs...)
}

func (d *Document) errorAt(line int, path, message string) error {
	if path != "" {
		message = path + ": " + message
	}
	return fmt.Errorf("%s:%d: document %d: %s", d.Source, line, d.Index, message)
}

// Comment returns what follows a prefix such as "Source: " in a comment of the
// document. It looks only at the comments before the first field, and returns ""
// if none has the prefix.
func (d *Document) Comment(prefix string) string {
	for line := range bytes.Lines(d.text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			break
		}
		if rest, ok := strings.CutPrefix(string(bytes.TrimLeft(line, "# ")), prefix); ok {
			return rest
		}
	}
	return ""
}

// join appends a path to the path of the document that it belongs to.
func join(prefix, path string) string {
	if prefix == "" || path == "" || path[0] == '[' {
		return prefix + path
	}
	return prefix + "." + path
}
