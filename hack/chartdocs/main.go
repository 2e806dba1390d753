// Command chartdocs writes two files from the values.yaml of a chart: the JSON
// Schema by which Helm refuses unknown values (values.schema.json), and the table
// of values in README.md, between two markers. The comment above a key
// is its description; a line "@schema {...}" adds to its schema, and a line
// "@section Title" begins a section.
//
//	chartdocs CHART-DIRECTORY
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

const begin, end = "<!-- values: written by make generate -->\n", "<!-- end of values -->\n"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: chartdocs CHART-DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "chartdocs:", err)
		os.Exit(1)
	}
}

func run(chart string) error {
	text, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return fmt.Errorf("values.yaml: %w", err)
	}
	w := &writer{}
	// YAML gives the first comment of the file to the document, so the first section is there.
	if head, err := parseNote(document.HeadComment); err == nil && head.section != "" {
		w.section(head.section)
	}
	schema, err := w.object("", document.Content[0])
	if err != nil {
		return fmt.Errorf("values.yaml: %w", err)
	}
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	// Helm gives a subchart the global values of its parent.
	schema["properties"].(map[string]any)["global"] = map[string]any{"type": "object"}
	out, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(chart, "values.schema.json"), append(out, '\n'), 0o644); err != nil {
		return err
	}
	return replaceTable(filepath.Join(chart, "README.md"), w.table.Bytes())
}

// replaceTable writes the table between the markers of a file.
func replaceTable(path string, table []byte) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(begin))
	_, after, closed := bytes.Cut(rest, []byte(end))
	if !ok || !closed {
		return fmt.Errorf("%s: the markers %q and %q are not there", path, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return os.WriteFile(path, bytes.Join([][]byte{before, []byte(begin), table, []byte(end), after}, nil), 0o644)
}

// writer walks over the values and writes the table.
type writer struct{ table bytes.Buffer }

// object returns the schema of a mapping. The schema allows no other keys.
func (w *writer) object(path string, node *yaml.Node) (map[string]any, error) {
	properties := map[string]any{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		property, err := w.property(path+key.Value, key, value)
		if err != nil {
			return nil, fmt.Errorf("line %d: %s%s: %w", key.Line, path, key.Value, err)
		}
		properties[key.Value] = property
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}, nil
}

func (w *writer) property(path string, key, value *yaml.Node) (map[string]any, error) {
	note, err := parseNote(key.HeadComment)
	if err != nil {
		return nil, err
	}
	if note.section != "" {
		w.section(note.section)
	}
	var schema map[string]any
	if value.Kind == yaml.MappingNode && note.schema == nil {
		if len(value.Content) == 0 {
			return nil, errors.New("an empty mapping needs a @schema that says what it may hold")
		}
		if schema, err = w.object(path+".", value); err != nil {
			return nil, err
		}
	} else {
		if schema, err = defaultSchema(value); err != nil {
			return nil, err
		}
		maps.Copy(schema, note.schema)
		if schema["type"] == "array" && schema["items"] == nil {
			return nil, errors.New("a list needs a @schema with its items")
		}
		if err := w.row(path, value, note); err != nil {
			return nil, err
		}
	}
	if note.text != "" {
		schema["description"] = note.text
	}
	return schema, nil
}

func (w *writer) section(title string) {
	fmt.Fprintf(&w.table, "\n### %s\n\n| value | default | |\n|---|---|---|\n", title)
}

// defaultSchema infers the type of a value from its default.
func defaultSchema(value *yaml.Node) (map[string]any, error) {
	types := map[string]string{
		"!!str": "string", "!!bool": "boolean", "!!int": "integer", "!!float": "number", "!!seq": "array", "!!map": "object",
	}
	var decoded any
	if err := value.Decode(&decoded); err != nil {
		return nil, err
	}
	name, ok := types[value.Tag]
	if !ok {
		return nil, fmt.Errorf("a default of type %s says too little: use another", value.Tag)
	}
	return map[string]any{"type": name, "default": decoded}, nil
}

func (w *writer) row(path string, value *yaml.Node, note note) error {
	var decoded any
	if err := value.Decode(&decoded); err != nil {
		return err
	}
	text, err := json.Marshal(decoded)
	if err != nil {
		return err
	}
	about := note.text
	if among, ok := note.schema["enum"].([]any); ok {
		var names []string
		for _, a := range among {
			names = append(names, fmt.Sprintf("`%v`", a))
		}
		about = strings.TrimSpace(about + " One of " + strings.Join(names, ", ") + ".")
	}
	fmt.Fprintf(&w.table, "| `%s` | `%s` | %s |\n", path, text, strings.ReplaceAll(about, "|", "\\|"))
	return nil
}

// note is the content of a comment.
type note struct {
	section, text string
	schema        map[string]any
}

// parseNote reads a comment. The last paragraph describes the key; paragraphs before
// it do not belong to the key. A line before it can start a section.
func parseNote(comment string) (note, error) {
	var n note
	var lines []string
	for line := range strings.Lines(comment) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#"))
		switch {
		case strings.HasPrefix(line, "@section "):
			n.section = strings.TrimPrefix(line, "@section ")
		case strings.HasPrefix(line, "@schema "):
			if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "@schema ")), &n.schema); err != nil {
				return n, fmt.Errorf("@schema: %w", err)
			}
		case line == "":
			lines = nil
		default:
			lines = append(lines, line)
		}
	}
	n.text = strings.Join(lines, " ")
	return n, nil
}
