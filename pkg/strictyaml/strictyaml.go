// Package strictyaml reads YAML and JSON files that people write by hand, and
// says what is wrong in their terms: the file, the document, the line, the
// field, and the nearest word that would have been right.
//
// It is pure and imports nothing of ours. go.yaml.in/yaml and sigs.k8s.io/json
// do the decoding; this package adds the positions.
package strictyaml

import (
	"bytes"
	encoding "encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/json"
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
}

// Part returns a part of the document as a document of its own, whose messages
// tell the place in the whole.
func (d *Document) Part(path string, content []byte) Document {
	part := *d
	part.JSON, part.prefix = content, join(d.prefix, path)
	return part
}

func join(prefix, path string) string {
	if prefix == "" || path == "" || path[0] == '[' {
		return prefix + path
	}
	return prefix + "." + path
}

// Split returns the documents of a file, leaving out those that are empty.
// The error joins one error for each document that is not YAML.
func Split(source string, data []byte) ([]Document, error) {
	var docs []Document
	var errs []error
	index := 0
	eachDocument(data, func(text []byte, first int) {
		content, err := toJSON(text)
		if err == nil && string(bytes.TrimSpace(content)) == "null" {
			return
		}
		index++
		d := Document{Source: source, Index: index, JSON: content, text: text, first: first}
		if err != nil {
			errs = append(errs, d.syntaxError())
			return
		}
		docs = append(docs, d)
	})
	return docs, errors.Join(errs...)
}

// toJSON converts a document. Unlike kubectl, which reads YAML 1.1, it takes a
// plain Off for the string that it is meant to be, and not for false.
func toJSON(text []byte) ([]byte, error) {
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		return nil, err
	}
	return encoding.Marshal(stringKeys(value))
}

// stringKeys gives every map the string keys that JSON wants.
func stringKeys(value any) any {
	switch v := value.(type) {
	case map[any]any:
		out := make(map[string]any, len(v))
		for key, val := range v {
			out[fmt.Sprint(key)] = stringKeys(val)
		}
		return out
	case map[string]any:
		for key, val := range v {
			v[key] = stringKeys(val)
		}
	case []any:
		for i, val := range v {
			v[i] = stringKeys(val)
		}
	}
	return value
}

// eachDocument cuts at the lines that start with "---", as kubectl does.
func eachDocument(data []byte, visit func(text []byte, first int)) {
	line, start, startLine := 1, 0, 1
	for at := 0; at < len(data); {
		end := bytes.IndexByte(data[at:], '\n')
		next := len(data)
		if end >= 0 {
			next = at + end + 1
		}
		if bytes.HasPrefix(data[at:next], []byte("---")) && isSeparator(data[at:next]) {
			visit(data[start:at], startLine)
			start, startLine = next, line+1
		}
		at = next
		line++
	}
	visit(data[start:], startLine)
}

func isSeparator(line []byte) bool {
	rest := bytes.TrimSpace(line[3:])
	return len(rest) == 0 || rest[0] == '#'
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\s*)?(?:line (\d+): )?((?s).*)$`)

// syntaxError tells what is wrong in lines of the file: the document is read
// again with as many empty lines before it as the file has.
func (d *Document) syntaxError() error {
	_, err := toJSON(append(bytes.Repeat([]byte("\n"), d.first-1), d.text...))
	if err == nil {
		return d.errorAt(d.first, "", "not YAML")
	}
	m := yamlLine.FindStringSubmatch(err.Error())
	line, convErr := strconv.Atoi(m[1])
	if convErr != nil {
		line = d.first
	}
	return d.errorAt(line, "", strings.Join(strings.Fields(m[2]), " "))
}

// Decode decodes the document into a struct. A field that the struct does not
// have, a field that is there twice and a value of the wrong type are errors;
// they come joined, each with its line.
func (d *Document) Decode(into any) error {
	strict, err := json.UnmarshalStrict(d.JSON, into)
	if err != nil {
		return d.typeError(err)
	}
	errs := make([]error, 0, len(strict))
	for _, e := range strict {
		path := fieldPath(e)
		msg := e.Error()
		if strings.HasPrefix(msg, "unknown field") {
			msg = "unknown field"
			if word := Nearest(lastStep(path), siblings(into, path)); word != "" {
				msg += fmt.Sprintf("; did you mean %q?", word)
			} else if names := siblings(into, path); len(names) > 0 {
				msg += "; known here: " + strings.Join(names, ", ")
			}
		} else if strings.HasPrefix(msg, "duplicate field") {
			msg = "is given twice"
		}
		errs = append(errs, d.ErrorAt(path, msg))
	}
	return errors.Join(errs...)
}

// Peek decodes what into has fields for and leaves the rest alone.
func (d *Document) Peek(into any) error {
	if err := json.UnmarshalCaseSensitivePreserveInts(d.JSON, into); err != nil {
		return d.typeError(err)
	}
	return nil
}

func fieldPath(err error) string {
	var fe json.FieldError
	if errors.As(err, &fe) {
		return fe.FieldPath()
	}
	return ""
}

var wrongType = regexp.MustCompile(`cannot unmarshal (\w+) into Go (?:struct field \w*\.([\w.\[\]]+)|value) of type (\S+)`)

// typeError turns the decoder's words ("Go struct field") into a user's.
func (d *Document) typeError(err error) error {
	m := wrongType.FindStringSubmatch(err.Error())
	if m == nil {
		return d.ErrorAt("", strings.TrimPrefix(err.Error(), "json: "))
	}
	return d.ErrorAt(m[2], fmt.Sprintf("expected %s, found %s", plainType(m[3]), m[1]))
}

func plainType(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case goType == "bool":
		return "true or false"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"), strings.HasPrefix(goType, "float"):
		return "a number"
	case goType == "string", strings.HasSuffix(goType, "Action"), strings.HasSuffix(goType, "Mode"):
		return "a string"
	case strings.HasPrefix(goType, "map["):
		return "a map"
	}
	return "a map"
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

// line returns the line of the file at which the field at path stands, or the
// innermost field around it that is there.
func (d *Document) line(path string) int {
	var root yaml.Node
	if err := yaml.Unmarshal(d.text, &root); err != nil || len(root.Content) == 0 {
		return d.first
	}
	node := root.Content[0]
	line := node.Line
	for _, step := range steps(path) {
		key, value := child(node, step)
		if value == nil {
			break
		}
		node, line = value, key.Line
	}
	return d.first + line - 1
}

func child(node *yaml.Node, step string) (key, value *yaml.Node) {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if i, err := strconv.Atoi(step); err == nil && node.Kind == yaml.SequenceNode {
		if i < len(node.Content) {
			return node.Content[i], node.Content[i]
		}
		return nil, nil
	}
	if node.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == step {
			return node.Content[i], node.Content[i+1]
		}
	}
	return nil, nil
}
