package strictyaml

import (
	"bytes"
	encoding "encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

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

// eachDocument splits a file at the lines that start with "---", as kubectl does.
// first is the line at which a document starts.
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

// toJSON converts a document. It reads YAML 1.2: a plain Off is a string. (kubectl
// reads YAML 1.1, where it is false.) A date is the string that was written, not
// an instant.
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
	if err := checkMaps(&root); err != nil {
		return nil, err
	}
	var value any
	if err := root.Decode(&value); err != nil {
		return nil, err
	}
	return encoding.Marshal(stringKeys(value))
}

// plainDates turns what YAML reads as a date into a string.
func plainDates(n *yaml.Node) {
	if n.Tag == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, child := range n.Content {
		plainDates(child)
	}
}

// stringKeys gives every map string keys, as JSON needs them.
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

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\s*)?(?:line (\d+): )?((?s).*)$`)

// syntaxError says what is wrong with a document that can't be parsed. To get
// line numbers of the file it parses the document again, with as many empty
// lines before it as the file has lines there.
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
	return d.errorAt(line, "", syntaxMessage(strings.Join(strings.Fields(m[2]), " ")))
}

// syntaxMessage replaces a message of the YAML parser that people misread: to the
// parser a token is not what the users of this project call a token.
func syntaxMessage(text string) string {
	if text == "found character that cannot start any token" {
		return "a tab, or another character that nothing starts with: YAML is indented by spaces, and text that starts with @, ` or % takes quotes"
	}
	return text
}
