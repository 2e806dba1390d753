package makers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// scope is where a pattern looks up its paths.
type scope struct {
	root func() map[string]any
	// element is that of the row's Each: what paths with a dot before them start at.
	element any
	// container is the program that runs, for flags and variables.
	container *container
}

// expand fills in a pattern. In braces stands a path, or several with a | between
// them, of which the first that has a value counts:
//
//	{spec.secretName}             a field of the object
//	{metadata.annotations[a/b]}   a key that has dots
//	{.name}, {.}                  of the element of Each, or the element itself
//	{.key}, {.value.name}         of an element of a map
//	{--secret-name}, {$NAME}      a flag, and a variable, of the program
//
// If one of the braces has no value, neither has the pattern.
func (s *scope) expand(pattern string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(pattern, "{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		inside, after, _ := strings.Cut(rest, "}")
		value := s.first(inside)
		if value == "" {
			return ""
		}
		b.WriteString(value)
		pattern = after
	}
}

// first returns the value of the first path that has one.
func (s *scope) first(paths string) string {
	for p := range strings.SplitSeq(paths, "|") {
		if value := text(s.value(p)); value != "" {
			return value
		}
	}
	return ""
}

func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case bool, int64, float64:
		return fmt.Sprint(v)
	}
	return ""
}

// all reports whether all conditions hold.
func (s *scope) all(conditions []string) bool {
	for _, c := range conditions {
		if !s.holds(c) {
			return false
		}
	}
	return true
}

func (s *scope) holds(condition string) bool {
	if path, want, ok := strings.Cut(condition, "!="); ok {
		return s.first(path) != want
	}
	if path, want, ok := strings.Cut(condition, "="); ok {
		return s.first(path) == want
	}
	condition, negated := strings.CutPrefix(condition, "!")
	there := false
	for p := range strings.SplitSeq(condition, "|") {
		value := s.value(p)
		there = there || value != nil && value != false && value != ""
	}
	return there != negated
}

// elements returns the elements of a list or a map; of no path one that is nothing.
func (s *scope) elements(path string) []any {
	if path == "" {
		return []any{nil}
	}
	values := []any{any(s.root())}
	for part := range strings.SplitSeq(strings.TrimSuffix(path, "[]"), "[]") {
		var next []any
		for _, value := range values {
			next = append(next, spread(walk(value, strings.TrimPrefix(part, ".")))...)
		}
		values = next
	}
	return values
}

func spread(value any) []any {
	switch v := value.(type) {
	case []any:
		return v
	case map[string]any:
		var all []any
		for _, key := range slices.Sorted(maps.Keys(v)) {
			all = append(all, map[string]any{"key": key, "value": v[key]})
		}
		return all
	case string: // of an annotation: names with commas between them
		var all []any
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.TrimSpace(name); name != "" {
				all = append(all, name)
			}
		}
		return all
	}
	return nil
}

func (s *scope) value(path string) any {
	switch {
	case strings.HasPrefix(path, "-"):
		return s.container.flag(path)
	case strings.HasPrefix(path, "$"):
		return s.container.environment(path[1:])
	case path == ".":
		return s.element
	case strings.HasPrefix(path, "."):
		return walk(s.element, path[1:])
	}
	return walk(any(s.root()), path)
}

// walk follows a path of fields: a.b[key with dots].c
func walk(value any, path string) any {
	for path != "" {
		var step string
		if inside, ok := strings.CutPrefix(path, "["); ok {
			step, path, _ = strings.Cut(inside, "]")
			path = strings.TrimPrefix(path, ".")
		} else {
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			step, path = path[:end], strings.TrimPrefix(path[end:], ".")
		}
		fields, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = fields[step]
	}
	return value
}
