package strictyaml

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Position returns the line and column of the value of the field at path. If there
// is no such field, it returns those of the innermost field around it.
func (d *Document) Position(path string) (line, column int) {
	path = join(d.prefix, path)
	if path == "" {
		return d.start()
	}
	if _, value := d.innermost(path); value != nil {
		return d.first + value.Line - 1, value.Column
	}
	return d.first, 1
}

// start returns where the first field is, without taking the document apart.
func (d *Document) start() (line, column int) {
	line = d.first
	for text := range bytes.Lines(d.text) {
		content := bytes.TrimLeft(text, " ")
		if rest := bytes.TrimSpace(content); len(rest) > 0 && rest[0] != '#' && rest[0] != '%' && !bytes.Equal(rest, []byte("---")) {
			return line, len(text) - len(content) + 1
		}
		line++
	}
	return d.first, 1
}

// line returns the line of the field at path. If there is no such field, it
// returns that of the innermost field around it.
func (d *Document) line(path string) int {
	key, _ := d.innermost(path)
	if key == nil {
		return d.first
	}
	return d.first + key.Line - 1
}

// innermost returns the key and the value of the field at path, or, if there is no
// such field, of the innermost field around it.
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

// child returns the key and the value of one field or element of a node.
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

// tree parses a document into a tree with positions. It returns nil if the
// document is not YAML.
func tree(text []byte) *yaml.Node {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil || len(root.Content) == 0 {
		return nil
	}
	return root.Content[0]
}

// findScalar returns the path of the scalar with a value, if there is exactly one.
func (d *Document) findScalar(value string) (path string, found bool) {
	root := d.root()
	if root == nil {
		return "", false
	}
	count := 0
	var walk func(here string, n *yaml.Node)
	walk = func(here string, n *yaml.Node) {
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				walk(join(here, n.Content[i].Value), n.Content[i+1])
			}
		case yaml.SequenceNode:
			for i, child := range n.Content {
				walk(fmt.Sprintf("%s[%d]", here, i), child)
			}
		case yaml.ScalarNode:
			if n.Value == value {
				path = here
				count++
			}
		case yaml.AliasNode, yaml.DocumentNode:
		}
	}
	walk("", root)
	return path, count == 1
}

// steps splits a field path: "spec.checks[0].name" -> spec, checks, 0, name.
func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

func lastStep(path string) string {
	if s := steps(path); len(s) > 0 {
		return s[len(s)-1]
	}
	return ""
}
