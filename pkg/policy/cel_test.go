package policy

import (
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/cel/environment"

	"tokenward.dev/tokenward/pkg/facts"
)

// What an expression fails with may be a value of the object: it is not told.
func TestFailuresTellNoValues(t *testing.T) {
	const value = "5up3r-s3cr3t"
	object := map[string]any{"metadata": map[string]any{"name": value, "labels": map[string]any{}}, "spec": map[string]any{"env": value}}
	env, err := newEnvironments(environment.DefaultCompatibilityVersion())
	if err != nil {
		t.Fatal(err)
	}
	for expression, want := range map[string]string{
		"object.metadata.labels.app == 'x'":                      "no such key: app",
		"object.metadata.labels[object.metadata.name] == 'x'":    "no such key",
		"int(object.spec.env) > 1":                               "it can't be evaluated for this object",
		"duration(object.spec.env) > duration('1s')":             "it can't be evaluated for this object",
		"timestamp(object.spec.env) > timestamp(0)":              "it can't be evaluated for this object",
		"quantity(object.spec.env).isGreaterThan(quantity('1'))": "it can't be evaluated for this object",
		"object.metadata.name > 1":                               "no such overload",
		"namespaceObject.metadata.name == 'x'":                   "no such attribute(s): namespaceObject",
	} {
		condition, err := compileCondition(env.written, "c", expression)
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		attributes := &Attributes{Values: func() *Values { return &Values{Object: object} }}
		e := (&evaluation{attributes.evaluations(), attributes, &facts.Fact{}}).evaluate(&condition)
		if e.state != facts.Unknown || e.why != want || strings.Contains(e.why, value) {
			t.Errorf("%s: %s, %q; want %q", expression, e.state, e.why, want)
		}
	}
}
