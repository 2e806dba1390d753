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
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

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
	// root is the document as a tree with positions; nil where it is no YAML.
	root func() *yaml.Node
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
	visit := func(text []byte, first int) {
		content, err := toJSON(text)
		if err == nil && string(bytes.TrimSpace(content)) == "null" {
			return
		}
		index++
		d := Document{Source: source, Index: index, JSON: content, text: text, first: first, root: sync.OnceValue(func() *yaml.Node { return tree(text) })}
		if err != nil {
			errs = append(errs, d.syntaxError())
			return
		}
		docs = append(docs, d)
	}
	eachDocument(data, func(text []byte, first int) { eachJSON(text, first, visit) })
	return docs, errors.Join(errs...)
}

// toJSON converts a document. Unlike kubectl, which reads YAML 1.1, it takes a
// plain Off for the string that it is meant to be, and not for false.
//
// A date stands for its text, not for an instant.
func toJSON(text []byte) ([]byte, error) {
	var root, more yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
		return []byte("null"), nil
	} else if err != nil {
		return nil, err
	}
	if err := decoder.Decode(&more); err == nil {
		return nil, fmt.Errorf("yaml: line %d: a second document starts here: put a line with --- alone before it", more.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	plainDates(&root)
	var value any
	if err := root.Decode(&value); err != nil {
		return nil, err
	}
	return encoding.Marshal(stringKeys(value))
}

// plainDates makes strings of what YAML takes for a date.
func plainDates(n *yaml.Node) {
	if n.Tag == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, child := range n.Content {
		plainDates(child)
	}
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
	return d.errorAt(line, "", syntaxWords(strings.Join(strings.Fields(m[2]), " ")))
}

// syntaxWords says what YAML's own words do not: what they call a token is none
// that anybody here thinks of.
func syntaxWords(text string) string {
	if text == "found character that cannot start any token" {
		return "a tab, or another character that nothing starts with: YAML is indented by spaces, and text that starts with @, ` or % takes quotes"
	}
	return text
}

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

// DecodeLenient decodes like Decode, but takes only those unknown fields for
// errors that seem to be misspelled.
func (d *Document) DecodeLenient(into any) error {
	return d.decode(into, func(path string, known []string) string {
		if word := Nearest(lastStep(path), known); word != "" {
			return fmt.Sprintf("unknown field; did you mean %q?", word)
		}
		return ""
	})
}

// decode asks what to say of each unknown field; nothing if it is to pass.
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

// Peek decodes what into has fields for and leaves the rest alone.
func (d *Document) Peek(into any) error {
	if err := json.UnmarshalCaseSensitivePreserveInts(d.JSON, into); err != nil {
		return d.typeError(err, into)
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

var (
	wrongType = regexp.MustCompile(`cannot unmarshal (\w+) (?:"[^"]*" )?into Go (?:struct field \w*\.([\w.\[\]-]+)|value) of type`)
	quoted    = regexp.MustCompile(`"([^"]*)"`)
)

// typeError turns the decoder's words ("Go struct field") into a user's.
func (d *Document) typeError(err error, into any) error {
	if m := wrongType.FindStringSubmatch(err.Error()); m != nil {
		m[2] = strings.TrimPrefix(m[2], "TypeMeta.") // it is inlined
		return d.ErrorAt(m[2], fmt.Sprintf("expected %s, found %s", expected(into, m[2]), m[1]))
	}
	// A time or a duration that is none: the error quotes the value, and does
	// not say where it stands.
	text := strings.TrimPrefix(err.Error(), "json: ")
	values := quoted.FindAllStringSubmatch(text, -1)
	slices.SortFunc(values, func(a, b []string) int { return len(b[1]) - len(a[1]) })
	for _, m := range values {
		path, found := d.find(m[1])
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

// find returns the path of the only scalar with a value.
func (d *Document) find(value string) (path string, found bool) {
	root := d.root()
	if root == nil {
		return "", false
	}
	count := 0
	var walk func(at string, n *yaml.Node)
	walk = func(at string, n *yaml.Node) {
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				walk(join(at, n.Content[i].Value), n.Content[i+1])
			}
		case yaml.SequenceNode:
			for i, child := range n.Content {
				walk(fmt.Sprintf("%s[%d]", at, i), child)
			}
		case yaml.ScalarNode:
			if n.Value == value {
				path = at
				count++
			}
		case yaml.AliasNode, yaml.DocumentNode:
		}
	}
	walk("", root)
	return path, count == 1
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

// tree reads a document again, for positions; nil if it is no YAML.
func tree(text []byte) *yaml.Node {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil || len(root.Content) == 0 {
		return nil
	}
	return root.Content[0]
}

// Position returns the line and column of the file at which the value of the
// field at path stands, or the innermost field around it that is there.
func (d *Document) Position(path string) (line, column int) {
	path = join(d.prefix, path)
	if _, value := d.innermost(path); value != nil {
		return d.first + value.Line - 1, value.Column
	}
	return d.first, 1
}

// line returns the line of the file at which the field at path stands, or the
// innermost field around it that is there.
func (d *Document) line(path string) int {
	key, _ := d.innermost(path)
	if key == nil {
		return d.first
	}
	return d.first + key.Line - 1
}

// innermost returns the key and the value of the field at path, or of the
// innermost field around it that is there.
func (d *Document) innermost(path string) (key, value *yaml.Node) {
	root := d.root()
	if root == nil {
		return nil, nil
	}
	key, value = root, root
	for _, step := range steps(path) {
		k, v := child(value, step)
		if v == nil {
			break
		}
		key, value = k, v
	}
	return key, value
}

// Comment returns the text of a comment line of the document that starts with a
// prefix, such as "Source: "; empty if there is none before the first field.
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

func child(node *yaml.Node, step string) (key, value *yaml.Node) {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if i, err := strconv.Atoi(step); err == nil && node.Kind == yaml.SequenceNode {
		if i >= 0 && i < len(node.Content) {
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
