package strictyaml

import (
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Nearest returns the known word that the given one most likely stands for, or
// "" if none is near: at most two letters, or a third of them, differ but for
// case. Letters in another order come before other letters, and words that begin
// alike before others.
func Nearest(word string, known []string) string {
	best, distance := "", max(3, len(word)/3+1)
	for _, k := range known {
		d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(k))
		if d < distance || (d == distance && best != "" && likeness(word, k) > likeness(word, best)) {
			best, distance = k, d
		}
	}
	return best
}

// likeness tells apart words of the same distance.
func likeness(a, b string) int {
	switch {
	case sameLetters(a, b):
		return 2
	case a != "" && b != "" && strings.EqualFold(a[:1], b[:1]):
		return 1
	}
	return 0
}

func sameLetters(a, b string) bool {
	sorted := func(word string) []rune { return slices.Sorted(slices.Values([]rune(strings.ToLower(word)))) }
	return slices.Equal(sorted(a), sorted(b))
}
