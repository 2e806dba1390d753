// Package makers knows what makes Secrets and ConfigMaps that nobody writes down:
// controllers, from objects of their own kinds and from annotations; programs that
// run in a pod, from their arguments; and clusters, for all their namespaces.
//
// One table has it all. Users add rows of their own in a file. What is certain
// counts as there; what is only likely is told, and found fault with by nobody.
//
// It is pure. It imports packages facts, reference and strictyaml, and nothing else
// of ours.
package makers

import (
	"path"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// Row is one row of the table: who makes it, what is read, and what is made. What
// is read stands in patterns such as "{spec.target.name|metadata.name}"; see
// expand.
type Row struct {
	// Group and Kind of the object that a controller reads. Group may be "*" for
	// any, or "*.azure.com"; Kind may be "*".
	Group string `json:"group,omitempty"`
	Kind  string `json:"kind,omitempty"`
	// Program makes it, where it runs in a container.
	Program *Program `json:"program,omitempty"`
	// By names the maker where it is no object: what it makes is always there.
	By string `json:"by,omitempty"`

	// Each is a list or a map; each element makes what the row says.
	Each string `json:"each,omitempty"`
	// When has conditions, all of which must hold: "path", "!path", "path=value",
	// "path!=value".
	When  []string `json:"when,omitempty"`
	Makes []Made   `json:"makes"`
	// Likely is set where it may as well not be made.
	Likely bool `json:"likely,omitempty"`
	// Fills is set where the object must be there: only keys are made.
	Fills bool `json:"fills,omitempty"`
	// Source is the page that says so.
	Source string `json:"source,omitempty"`
}

// Program is what runs in a container.
type Program struct {
	// Image is a part of the image's name, without its tag.
	Image string `json:"image,omitempty"`
	// Words are all among the command and its arguments.
	Words []string `json:"words,omitempty"`
}

// Made is what a row makes: patterns.
type Made struct {
	Kind reference.Kind `json:"kind"`
	Name string         `json:"name"`
	// Namespace is that of the object that is read, if it is empty; "*" is all.
	Namespace string `json:"namespace,omitempty"`
}

// Product is an object that something makes.
type Product struct {
	// Object has no namespace where it is made in all.
	facts.Object
	// By names the maker: "ExternalSecret shop/db".
	By     string
	Likely bool
	Fills  bool
	// Within is set if an init container makes it: its own pod may wait for it.
	Within bool
}

// Object is an object that something may be made of.
type Object struct {
	metav1.TypeMeta
	// Namespace and Name; Namespace may be filled in.
	Namespace, Name string
	// Scoped is set if the object says which namespace it is in.
	Scoped bool
	// Fields decodes the whole object, once a row wants it.
	Fields func() map[string]any
}

// String names the object to people.
func (o *Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// Table has the rows by what they read.
type Table struct {
	byKind   map[string][]Row
	anyKind  []Row
	programs []Row
	always   []Row
}

// NewTable returns the built-in rows, and more of a user's.
func NewTable(more ...Row) *Table {
	t := &Table{byKind: map[string][]Row{}}
	for _, row := range append(Rows(), more...) {
		switch {
		case row.Program != nil:
			t.programs = append(t.programs, row)
		case row.By != "":
			t.always = append(t.always, row)
		case row.Kind == "*":
			t.anyKind = append(t.anyKind, row)
		default:
			t.byKind[row.Kind] = append(t.byKind[row.Kind], row)
		}
	}
	return t
}

// Of returns what the controllers of the table make of an object.
func (t *Table) Of(o *Object) []Product {
	var products []Product
	group, _, versioned := strings.Cut(o.APIVersion, "/")
	if !versioned {
		group = ""
	}
	for _, rows := range [][]Row{t.byKind[o.Kind], t.anyKind} {
		for i := range rows {
			if rows[i].ofGroup(group) {
				products = append(products, rows[i].products(o, &scope{root: o.Fields})...)
			}
		}
	}
	return products
}

// Reads reports whether the table reads objects of a kind at all.
func (t *Table) Reads(kind string) bool { return len(t.byKind[kind]) > 0 }

func (r *Row) ofGroup(group string) bool {
	if suffix, ok := strings.CutPrefix(r.Group, "*"); ok {
		return strings.HasSuffix(group, suffix) && (suffix != "" || strings.Contains(group, "."))
	}
	return r.Group == group
}

// Always returns what makes an object wherever it is asked for.
func (t *Table) Always(o facts.Object) (Product, bool) {
	for i := range t.always {
		row := &t.always[i]
		for _, m := range row.Makes {
			if m.Kind == o.Kind && (m.Namespace == "*" || m.Namespace == o.Namespace) && matches(m.Name, o.Name) {
				return Product{Object: o, By: row.By, Likely: row.Likely, Fills: row.Fills}, true
			}
		}
	}
	return Product{}, false
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// products returns what one row makes of an object in a scope.
func (r *Row) products(o *Object, s *scope) []Product {
	var products []Product
	for _, element := range s.elements(r.Each) {
		inner := &scope{root: s.root, container: s.container, element: element}
		if !inner.all(r.When) {
			continue
		}
		for _, m := range r.Makes {
			name := objectName(inner.expand(m.Name))
			if name == "" {
				continue
			}
			namespace := o.Namespace
			if m.Namespace != "" {
				if namespace = inner.expand(m.Namespace); namespace == "" {
					namespace = o.Namespace
				}
			}
			by := o.String()
			if namespace == "*" {
				namespace = ""
			}
			if namespace != o.Namespace && !o.Scoped {
				by = o.Kind + " " + o.Name
			}
			products = append(products, Product{
				Object: facts.Object{Kind: m.Kind, Namespace: namespace, Name: name}, By: by, Likely: r.Likely, Fills: r.Fills,
			})
		}
	}
	return products
}

// objectName makes a name of what was filled in: operators do the same with
// what Kubernetes would refuse.
func objectName(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' {
			return '-'
		}
		return r
	}, strings.ToLower(text))
}
