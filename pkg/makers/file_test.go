package makers

import (
	"strings"
	"testing"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

const ownMakers = `apiVersion: tokenward.dev/v1alpha1
kind: Makers
makers:
- group: db.example.com
  kind: Database
  each: spec.users
  when: [spec.ready=true]
  makes: [{kind: Secret, name: "{metadata.name}-{.name}", namespace: "{.namespace}"}]
- by: the platform
  makes: [{kind: Secret, name: "regcred*", namespace: "*"}]
`

func TestAUsersRowsCountBesideTheBuiltIn(t *testing.T) {
	rows, err := Parse("m.yaml", []byte(ownMakers))
	if err != nil {
		t.Fatal(err)
	}
	table := NewTable(rows...)
	o, _ := object(t, "{apiVersion: db.example.com/v1, kind: Database, metadata: {name: x, namespace: shop}, spec: {ready: true, users: [{name: a}, {name: b, namespace: web}]}}")
	products := table.Of(o)
	if len(products) != 2 || describe(&products[0]) != "Secret shop/x-a" || describe(&products[1]) != "Secret web/x-b" || products[1].By != "Database shop/x" {
		t.Errorf("got %+v", products)
	}
	if product, ok := table.Always(facts.Object{Kind: reference.Secret, Namespace: "any", Name: "regcred-eu"}); !ok || product.By != "the platform" {
		t.Errorf("got %+v", product)
	}
	if _, ok := table.Always(facts.Object{Kind: reference.ConfigMap, Namespace: "any", Name: "regcred"}); ok {
		t.Error("a ConfigMap is no Secret")
	}
}

func TestAFileOfMakersSaysWhatIsWrong(t *testing.T) {
	head := "apiVersion: tokenward.dev/v1alpha1\nkind: Makers\nmakers:\n"
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "m.yaml: the file has no makers"},
		{"another kind", "apiVersion: v1\nkind: Secret\n", "kind Makers"},
		{"a field that there is not", head + "- {kind: A, group: b, make: []}\n", `makers[0].make: unknown field; did you mean "makes"?`},
		{"two makers in one", head + "- {kind: A, by: me, makes: [{kind: Secret, name: a}]}\n", "m.yaml:4: document 1: makers[0]: give one of kind (with group), program and by"},
		{"nothing made", head + "- {kind: A, group: b}\n", "makers[0].makes: must say what is made"},
		{"another kind of object", head + "- {kind: A, group: b, makes: [{kind: Service, name: a}]}\n", `"Service" is neither Secret nor ConfigMap`},
		{"no name", head + "- {kind: A, group: b, makes: [{kind: Secret}]}\n", "makers[0].makes[0].name: must be given"},
		{"no namespace", head + "- {by: me, makes: [{kind: Secret, name: a}]}\n", `namespace: must be given: a namespace, or "*" for all`},
		{"a brace too few", head + "- {kind: A, group: b, makes: [{kind: Secret, name: '{metadata.name'}]}\n", "has a brace without its other"},
		{"any program", head + "- {program: {}, makes: [{kind: Secret, name: a}]}\n", "give image, words, or both"},
	} {
		if _, err := Parse("m.yaml", []byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}
