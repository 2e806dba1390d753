package policy

import (
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/strictyaml"
)

// Parse decodes and compiles the TokenPolicies of a file: one or more YAML (or
// JSON) documents. It is strict: what it does not understand is an error that
// names the document, the line and the field. All errors come joined.
func (c *Compiler) Parse(source string, data []byte) ([]*Policy, error) {
	docs, err := strictyaml.Split(source, data)
	if err != nil {
		return nil, err
	}
	policies := make([]*Policy, 0, len(docs))
	var errs []error
	seen := map[string]int{}
	for i := range docs {
		p, err := c.ParseDocument(&docs[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if first, twice := seen[p.Name]; twice {
			errs = append(errs, docs[i].ErrorAt("metadata.name", fmt.Sprintf("%q is the name of document %d, too", p.Name, first)))
		}
		seen[p.Name] = docs[i].Index
		policies = append(policies, p)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return policies, nil
}

// ParseDocument decodes and compiles one TokenPolicy.
func (c *Compiler) ParseDocument(d *strictyaml.Document) (*Policy, error) {
	var typeMeta metav1.TypeMeta
	var p v1alpha1.TokenPolicy
	if err := typed(d, &typeMeta); err != nil {
		return nil, err
	}
	if want := v1alpha1.GroupVersion.String(); typeMeta.APIVersion != want {
		return nil, d.ErrorAt("apiVersion", fmt.Sprintf("expected %q, found %q", want, typeMeta.APIVersion))
	}
	if typeMeta.Kind != v1alpha1.TokenPolicyKind {
		return nil, d.ErrorAt("kind", fmt.Sprintf("expected %q, found %q", v1alpha1.TokenPolicyKind, typeMeta.Kind))
	}
	if err := d.Decode(&p); err != nil {
		return nil, err
	}
	compiled, errs := c.Compile(&p)
	if len(errs) > 0 {
		return nil, d.FieldErrors(errs)
	}
	return compiled, nil
}

// typed reads apiVersion and kind alone, so that a file of another kind is
// called so instead of being searched for unknown fields.
func typed(d *strictyaml.Document, into *metav1.TypeMeta) error {
	var fields struct {
		APIVersion any `json:"apiVersion"`
		Kind       any `json:"kind"`
	}
	if err := d.Peek(&fields); err != nil {
		return err
	}
	into.APIVersion, _ = fields.APIVersion.(string)
	into.Kind, _ = fields.Kind.(string)
	return nil
}
