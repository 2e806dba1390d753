package strictyaml

import (
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// siblings returns the names of the fields that are known where path ends.
func siblings(into any, path string) []string {
	s := steps(path)
	if len(s) == 0 {
		return nil
	}
	t := reflect.TypeOf(into)
	for _, step := range s[:len(s)-1] {
		if t = elem(t); t.Kind() != reflect.Struct {
			return nil
		}
		if isIndex(step) {
			continue
		}
		if t = fieldType(t, step); t == nil {
			return nil
		}
	}
	if t = elem(t); t.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	eachField(t, func(name string, _ reflect.Type) { names = append(names, name) })
	slices.Sort(names)
	return names
}

func isIndex(step string) bool { return step != "" && step[0] >= '0' && step[0] <= '9' }

// elem returns what a type of pointers, lists and maps is made of.
func elem(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t
}

func fieldType(t reflect.Type, name string) (found reflect.Type) {
	eachField(t, func(n string, ft reflect.Type) {
		if n == name {
			found = ft
		}
	})
	return found
}

// eachField visits the fields of a struct by their JSON names.
func eachField(t reflect.Type, visit func(name string, t reflect.Type)) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && f.Anonymous:
			if inner := elem(f.Type); inner.Kind() == reflect.Struct {
				eachField(inner, visit)
			}
		case name != "":
			visit(name, f.Type)
		}
	}
}

// expected returns, in a user's words, the type of the field at path. The path may
// lack indexes, because decoders leave them out.
func expected(into any, path string) string {
	t := reflect.TypeOf(into)
	for _, step := range steps(path) {
		if isIndex(step) {
			continue
		}
		if t = elem(t); t.Kind() != reflect.Struct {
			return "another type"
		}
		if t = fieldType(t, step); t == nil {
			return "another type"
		}
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[metav1.Time]():
		return "a time such as 2027-03-31T00:00:00Z"
	case reflect.TypeFor[metav1.Duration]():
		return "a duration such as 30s or 5m"
	}
	switch t.Kind() { //nolint:exhaustive // the others are numbers
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map, reflect.Interface:
		return "a map"
	}
	return "a number"
}
