package main

import (
	"fmt"
	"reflect"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// compare reports what a newer CustomResourceDefinition takes from users of an older
// one, a line each: what was valid must stay valid, and mean the same.
func compare(before, after []byte) ([]string, error) {
	var old, renewed apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(before, &old); err != nil {
		return nil, fmt.Errorf("the older: %w", err)
	}
	if err := yaml.UnmarshalStrict(after, &renewed); err != nil {
		return nil, fmt.Errorf("the newer: %w", err)
	}
	var c comparison
	for i := range old.Spec.Versions {
		v := &old.Spec.Versions[i]
		at := slices.IndexFunc(renewed.Spec.Versions, func(n apiextensionsv1.CustomResourceDefinitionVersion) bool { return n.Name == v.Name })
		switch {
		case at < 0:
			c.report(v.Name, "the version was removed")
		case v.Served && !renewed.Spec.Versions[at].Served:
			c.report(v.Name, "the version is no longer served")
		case v.Schema != nil && renewed.Spec.Versions[at].Schema != nil:
			c.schema(v.Name, v.Schema.OpenAPIV3Schema, renewed.Spec.Versions[at].Schema.OpenAPIV3Schema)
		}
	}
	if old.Spec.Scope != renewed.Spec.Scope {
		c.report("scope", fmt.Sprintf("was %s, is %s", old.Spec.Scope, renewed.Spec.Scope))
	}
	slices.Sort(c)
	return c, nil
}

type comparison []string

func (c *comparison) report(at, what string) { *c = append(*c, at+": "+what) }

// schema compares one level, and what is below it.
func (c *comparison) schema(at string, old, renewed *apiextensionsv1.JSONSchemaProps) {
	if old.Type != renewed.Type || old.XIntOrString != renewed.XIntOrString {
		c.report(at, fmt.Sprintf("the type was %q, is %q", old.Type, renewed.Type))
		return
	}
	c.values(at, old, renewed)
	c.bounds(at, old, renewed)
	c.rules(at, old, renewed)
	for name, field := range old.Properties {
		if next, ok := renewed.Properties[name]; ok {
			c.schema(at+"."+name, &field, &next)
		} else {
			c.report(at+"."+name, "the field was removed")
		}
	}
	for _, name := range renewed.Required {
		if !slices.Contains(old.Required, name) && renewed.Properties[name].Default == nil {
			c.report(at+"."+name, "the field is now required")
		}
	}
	if old.Items != nil && old.Items.Schema != nil && renewed.Items != nil && renewed.Items.Schema != nil {
		c.schema(at+"[]", old.Items.Schema, renewed.Items.Schema)
	}
	if old.AdditionalProperties != nil && old.AdditionalProperties.Schema != nil {
		if renewed.AdditionalProperties == nil || renewed.AdditionalProperties.Schema == nil {
			c.report(at, "keys of one's own are no longer allowed")
		} else {
			c.schema(at+"{}", old.AdditionalProperties.Schema, renewed.AdditionalProperties.Schema)
		}
	}
}

// values compares which values are allowed, and what is assumed.
func (c *comparison) values(at string, old, renewed *apiextensionsv1.JSONSchemaProps) {
	if old.Nullable && !renewed.Nullable {
		c.report(at, "null is no longer allowed")
	}
	if isSet(old.XPreserveUnknownFields) && !isSet(renewed.XPreserveUnknownFields) {
		c.report(at, "unknown fields are no longer kept")
	}
	allowed := func(v apiextensionsv1.JSON) bool {
		return slices.ContainsFunc(renewed.Enum, func(n apiextensionsv1.JSON) bool { return string(n.Raw) == string(v.Raw) })
	}
	switch {
	case len(renewed.Enum) == 0:
	case len(old.Enum) == 0:
		c.report(at, "an enum was added")
	default:
		for _, v := range old.Enum {
			if !allowed(v) {
				c.report(at, "the value "+string(v.Raw)+" was removed")
			}
		}
	}
	if was, is := text(old.Default), text(renewed.Default); was != is {
		c.report(at, fmt.Sprintf("the default was %s, is %s", was, is))
	}
	if !reflect.DeepEqual(old.XListType, renewed.XListType) || !slices.Equal(old.XListMapKeys, renewed.XListMapKeys) {
		c.report(at, "the list is merged in another way")
	}
}

func isSet(b *bool) bool { return b != nil && *b }

func text(v *apiextensionsv1.JSON) string {
	if v == nil {
		return "none"
	}
	return string(v.Raw)
}

// bounds compares lengths, sizes and numbers.
func (c *comparison) bounds(at string, old, renewed *apiextensionsv1.JSONSchemaProps) {
	upper(c, at, "maxLength", old.MaxLength, renewed.MaxLength)
	upper(c, at, "maxItems", old.MaxItems, renewed.MaxItems)
	upper(c, at, "maxProperties", old.MaxProperties, renewed.MaxProperties)
	upper(c, at, "maximum", old.Maximum, renewed.Maximum)
	lower(c, at, "minLength", old.MinLength, renewed.MinLength)
	lower(c, at, "minItems", old.MinItems, renewed.MinItems)
	lower(c, at, "minProperties", old.MinProperties, renewed.MinProperties)
	lower(c, at, "minimum", old.Minimum, renewed.Minimum)
	for name, one := range map[string][2]bool{
		"exclusiveMaximum": {old.ExclusiveMaximum, renewed.ExclusiveMaximum},
		"exclusiveMinimum": {old.ExclusiveMinimum, renewed.ExclusiveMinimum},
		"uniqueItems":      {old.UniqueItems, renewed.UniqueItems},
	} {
		if !one[0] && one[1] {
			c.report(at, name+" was added")
		}
	}
}

func upper[N int64 | float64](c *comparison, at, name string, old, renewed *N) {
	if renewed != nil && (old == nil || *renewed < *old) {
		c.report(at, fmt.Sprintf("%s was tightened to %v", name, *renewed))
	}
}

func lower[N int64 | float64](c *comparison, at, name string, old, renewed *N) {
	if renewed != nil && *renewed > 0 && (old == nil || *renewed > *old) {
		c.report(at, fmt.Sprintf("%s was tightened to %v", name, *renewed))
	}
}

// rules compares what can't be ordered: what is new counts as tighter.
func (c *comparison) rules(at string, old, renewed *apiextensionsv1.JSONSchemaProps) {
	for _, one := range []struct{ name, was, is string }{{"pattern", old.Pattern, renewed.Pattern}, {"format", old.Format, renewed.Format}} {
		if one.is != "" && one.is != one.was {
			c.report(at, fmt.Sprintf("the %s was %q, is %q", one.name, one.was, one.is))
		}
	}
	for i := range renewed.XValidations {
		rule := renewed.XValidations[i].Rule
		if !slices.ContainsFunc(old.XValidations, func(v apiextensionsv1.ValidationRule) bool { return v.Rule == rule }) {
			c.report(at, "a rule was added: "+rule)
		}
	}
}
