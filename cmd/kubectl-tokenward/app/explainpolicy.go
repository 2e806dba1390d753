package app

import (
	_ "embed" // for the example
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/config/crd"
	"tokenward.dev/tokenward/pkg/policy"
)

// What can be explained besides checks.
const (
	explainPolicy  = "tokenpolicy"
	explainDefault = "default-policy"
	explainMakers  = "makers"
)

// examplePolicy has every field of a TokenPolicy.
//
//go:embed tokenpolicy.yaml
var examplePolicy []byte

// schema is what is told of a field of the CustomResourceDefinition.
type schema struct {
	Description string            `json:"description"`
	Type        string            `json:"type"`
	Enum        []string          `json:"enum"`
	Default     any               `json:"default"`
	Required    []string          `json:"required"`
	Items       *schema           `json:"items"`
	Properties  map[string]schema `json:"properties"`
}

// policyField is a field of a TokenPolicy, as it is explained.
type policyField struct {
	path, values, description string
	example                   any
}

// policyFields returns the fields of a TokenPolicy's spec, by path.
func policyFields() ([]policyField, error) {
	var definition struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(crd.TokenPolicies(), &definition); err != nil {
		return nil, fmt.Errorf("CustomResourceDefinition: %w", err)
	}
	var example map[string]any
	if err := yaml.Unmarshal(examplePolicy, &example); err != nil {
		return nil, fmt.Errorf("example: %w", err)
	}
	var fields []policyField
	for i := range definition.Spec.Versions {
		spec := definition.Spec.Versions[i].Schema.OpenAPIV3Schema.Properties["spec"]
		fields = addFields(fields, "spec", &spec, example["spec"])
	}
	return fields, nil
}

func addFields(to []policyField, path string, s *schema, example any) []policyField {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		field := s.Properties[name]
		if strings.Contains(field.Description, " was moved: ") {
			continue // it only tells where to
		}
		at, of := path+"."+name, firstOf(example, name)
		to = append(to, policyField{path: at, values: valuesOf(&field, slices.Contains(s.Required, name)), description: field.Description, example: of})
		if field.Type == "array" && field.Items.Type == "object" {
			at, field = at+"[]", *field.Items
		}
		to = addFields(to, at, &field, of)
	}
	return to
}

// firstOf returns a member of an object, or of the first in a list that has it.
func firstOf(example any, name string) any {
	switch example := example.(type) {
	case map[string]any:
		return example[name]
	case []any:
		for _, one := range example {
			if found := firstOf(one, name); found != nil {
				return found
			}
		}
	}
	return nil
}

func valuesOf(s *schema, required bool) string {
	out := s.Type
	switch {
	case len(s.Enum) > 0:
		out = strings.Join(s.Enum, ", ")
	case s.Type == "array":
		out = "list of " + s.Items.Type + "s"
	}
	if s.Default != nil {
		out += fmt.Sprintf("; %v if left out", s.Default)
	}
	if required {
		out += "; required"
	}
	return out
}

// tokenPolicy prints the fields at and below a path, and the example.
func (p *printer) tokenPolicy(below string) error {
	fields, err := policyFields()
	if err != nil {
		return err
	}
	found, spec := false, "spec."+strings.TrimPrefix(strings.TrimPrefix(below, "spec"), ".")
	for _, f := range fields {
		if plain := strings.ReplaceAll(f.path, "[]", "") + "."; !strings.HasPrefix(plain, strings.TrimSuffix(spec, ".")+".") {
			continue
		}
		found = true
		p.line(p.paint(bold, f.path))
		for _, line := range wrapped("("+f.values+")\n"+strings.Join(strings.Fields(f.description), " "), width-4) {
			p.line("    " + line)
		}
		if text, err := json.Marshal(f.example); err == nil && f.example != nil && len(text) < width-14 {
			p.line("    Example: " + string(text))
		}
	}
	if !found {
		return errors.New("a TokenPolicy has no such field; kubectl tokenward explain tokenpolicy lists them")
	}
	if below == "" {
		p.line("\n" + p.paint(bold, "All together"))
		p.line(strings.TrimRight(string(examplePolicy), "\n"))
	}
	return nil
}

// defaultPolicy prints the built-in policy as somebody would write it.
func (p *printer) defaultPolicy() error {
	text, err := yaml.Marshal(policy.Default(policy.Checks()))
	if err != nil {
		return err
	}
	text = []byte(strings.Replace(strings.Replace(string(text), "status: {}\n", "", 1), "  creationTimestamp: null\n", "", 1))
	p.line("# Built in, until somebody writes a TokenPolicy of this name.\n" + strings.TrimRight(string(text), "\n"))
	return nil
}
