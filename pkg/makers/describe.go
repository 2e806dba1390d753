package makers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Maker names who makes it: "ExternalSecret (external-secrets.io)".
func (r *Row) Maker() string {
	switch {
	case r.By != "":
		return r.By
	case r.Program != nil:
		var parts []string
		if r.Program.Image != "" {
			parts = append(parts, "image "+r.Program.Image)
		}
		if len(r.Program.Words) > 0 {
			parts = append(parts, strings.Join(r.Program.Words, " "))
		}
		if len(parts) == 0 {
			parts = r.When
		}
		return "a program: " + strings.Join(parts, ", ")
	}
	kind := r.Kind
	if kind == "*" {
		kind = "any kind"
	}
	switch r.Group {
	case "":
		return kind
	case "*":
		return kind + " of a group with a dot"
	}
	return fmt.Sprintf("%s (%s)", kind, r.Group)
}

// What says what it makes, and when.
func (r *Row) What() string {
	var parts []string
	for _, m := range r.Makes {
		text := string(m.Kind) + " " + m.Name
		switch m.Namespace {
		case "":
		case "*":
			text += " in all namespaces"
		default:
			text += " in namespace " + m.Namespace
		}
		parts = append(parts, text)
	}
	text := strings.Join(parts, ", ")
	if r.Fills {
		text = "keys of " + text
	}
	if r.Each != "" {
		text += "; for each of " + r.Each
	}
	if len(r.When) > 0 {
		text += "; if " + strings.Join(r.When, " and ")
	}
	return text
}

// Sorted returns the built-in rows as people look them up.
func Sorted() []Row {
	rows := Rows()
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Maker(), b.Maker()), strings.Compare(a.What(), b.What()))
	})
	return rows
}
