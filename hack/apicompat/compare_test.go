package main

import (
	"slices"
	"testing"
)

// definition has one version with one field.
func definition(field string) []byte {
	return []byte(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  scope: Cluster
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {a: ` + field + `}}}}]
`)
}

func TestWhatBreaksUsersIsFound(t *testing.T) {
	object := func(rest string) string {
		return "{type: object, properties: {b: {type: string}, c: {type: string}}" + rest + "}"
	}
	for name, tt := range map[string]struct {
		before, after string
		want          []string
	}{
		"nothing changed":                 {object(""), object(""), nil},
		"a field was added":               {`{type: object, properties: {b: {type: string}}}`, object(""), nil},
		"a field was removed":             {object(""), `{type: object, properties: {b: {type: string}}}`, []string{"v1.a.c: the field was removed"}},
		"a type changed":                  {`{type: string}`, `{type: integer}`, []string{`v1.a: the type was "string", is "integer"`}},
		"the type of items changed":       {`{type: array, items: {type: string}}`, `{type: array, items: {type: integer}}`, []string{`v1.a[]: the type was "string", is "integer"`}},
		"a field is required":             {object(""), object(", required: [b]"), []string{"v1.a.b: the field is now required"}},
		"required with a default":         {object(""), `{type: object, required: [d], properties: {b: {type: string}, c: {type: string}, d: {type: string, default: x}}}`, nil},
		"no longer required":              {object(", required: [b]"), object(""), nil},
		"a value was removed":             {`{type: string, enum: [x, w]}`, `{type: string, enum: [w, z]}`, []string{`v1.a: the value "x" was removed`}},
		"a value was added":               {`{type: string, enum: [x]}`, `{type: string, enum: [x, w]}`, nil},
		"an enum was added":               {`{type: string}`, `{type: string, enum: [x]}`, []string{"v1.a: an enum was added"}},
		"an enum was dropped":             {`{type: string, enum: [x]}`, `{type: string}`, nil},
		"shorter":                         {`{type: string, maxLength: 9}`, `{type: string, maxLength: 8}`, []string{"v1.a: maxLength was tightened to 8"}},
		"longer":                          {`{type: string, maxLength: 8}`, `{type: string, maxLength: 9}`, nil},
		"a bound was added":               {`{type: array, items: {type: string}}`, `{type: array, maxItems: 3, items: {type: string}}`, []string{"v1.a: maxItems was tightened to 3"}},
		"a minimum was raised":            {`{type: integer, minimum: 1}`, `{type: integer, minimum: 2}`, []string{"v1.a: minimum was tightened to 2"}},
		"a pattern was added":             {`{type: string}`, `{type: string, pattern: "^x$"}`, []string{`v1.a: the pattern was "", is "^x$"`}},
		"a pattern was dropped":           {`{type: string, pattern: "^x$"}`, `{type: string}`, nil},
		"a format was added":              {`{type: string}`, `{type: string, format: date-time}`, []string{`v1.a: the format was "", is "date-time"`}},
		"a rule was added":                {object(""), object(`, x-kubernetes-validations: [{rule: "has(self.b)"}]`), []string{"v1.a: a rule was added: has(self.b)"}},
		"only the message of one changed": {object(`, x-kubernetes-validations: [{rule: "has(self.b)"}]`), object(`, x-kubernetes-validations: [{rule: "has(self.b)", message: m}]`), nil},
		"a rule was dropped":              {object(`, x-kubernetes-validations: [{rule: "has(self.b)"}]`), object(""), nil},
		"a default changed":               {`{type: string, default: x}`, `{type: string, default: other}`, []string{`v1.a: the default was "x", is "other"`}},
		"null is refused":                 {`{type: string, nullable: true}`, `{type: string}`, []string{"v1.a: null is no longer allowed"}},
		"a list became a map":             {`{type: array, items: {type: string}}`, `{type: array, x-kubernetes-list-type: set, items: {type: string}}`, []string{"v1.a: the list is merged in another way"}},
		"values of a map":                 {`{type: object, additionalProperties: {type: string}}`, `{type: object, additionalProperties: {type: integer}}`, []string{`v1.a{}: the type was "string", is "integer"`}},
		"unknown fields are dropped":      {`{type: object, x-kubernetes-preserve-unknown-fields: true}`, `{type: object}`, []string{"v1.a: unknown fields are no longer kept"}},
	} {
		got, err := compare(definition(tt.before), definition(tt.after))
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, tt.want)
		}
	}
}

func TestVersionsAreServedOn(t *testing.T) {
	version := func(name, served string) []byte {
		return []byte("spec: {scope: Cluster, versions: [{name: " + name + ", served: " + served + ", storage: true}]}")
	}
	for name, tt := range map[string]struct {
		after []byte
		want  string
	}{
		"removed":    {version("v2", "true"), "v1: the version was removed"},
		"not served": {version("v1", "false"), "v1: the version is no longer served"},
		"scope":      {[]byte("spec: {scope: Namespaced, versions: [{name: v1, served: true, storage: true}]}"), "scope: was Cluster, is Namespaced"},
	} {
		if got, err := compare(version("v1", "true"), tt.after); err != nil || !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestTheDefinitionIsCompatibleWithItself(t *testing.T) {
	const file = "../../config/crd/tokenward.dev_tokenpolicies.yaml"
	if got, err := compareFiles(file, file); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
}
