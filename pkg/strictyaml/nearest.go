package strictyaml

import (
	"reflect"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Nearest returns the known word that the given one most likely stands for, or
// "" if none is near: at most two letters, or a third of them, differ but for
// case. Letters in another order come before other letters.
func Nearest(word string, known []string) string {
	best, distance := "", max(3, len(word)/3+1)
	for _, k := range known {
		d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(k))
		if d < distance || (d == distance && best != "" && sameLetters(word, k)) {
			best, distance = k, d
		}
	}
	return best
}

func sameLetters(a, b string) bool {
	sorted := func(word string) []rune { return slices.Sorted(slices.Values([]rune(strings.ToLower(word)))) }
	return slices.Equal(sorted(a), sorted(b))
}

// steps cuts a field path: "spec.checks[0].name" -> spec, checks, 0, name.
func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

func lastStep(path string) string {
	if s := steps(path); len(s) > 0 {
		return s[len(s)-1]
	}
	return ""
}

// siblings returns the names of the fields that could stand at path instead.
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

// elem takes pointers, lists and maps off a type.
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

// expected names, in a user's words, the type of what stands at path. Indexes
// may be missing in it: decoders leave them out.
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
