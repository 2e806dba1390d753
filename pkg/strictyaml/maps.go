package strictyaml

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// maxFields bounds the fields of a map. The decoder compares each with each.
const maxFields = 20_000

// checkMaps returns an error for the first map that has a field twice, or more fields
// than can be decoded in reasonable time. The decoder finds the former, too, but has
// one error for each pair: 20,000 fields of one name are 200 million errors.
func checkMaps(n *yaml.Node) error {
	if n.Kind == yaml.MappingNode {
		if len(n.Content)/2 > maxFields {
			return fmt.Errorf("yaml: line %d: a map has %d fields, of at most %d", n.Line, len(n.Content)/2, maxFields)
		}
		type name struct {
			kind  yaml.Kind
			value string
		}
		lines := make(map[name]int, len(n.Content)/2)
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			if line, again := lines[name{key.Kind, key.Value}]; again {
				return fmt.Errorf("yaml: line %d: mapping key %q already defined at line %d", key.Line, key.Value, line)
			}
			lines[name{key.Kind, key.Value}] = key.Line
		}
	}
	for _, child := range n.Content {
		if err := checkMaps(child); err != nil {
			return err
		}
	}
	return nil
}
