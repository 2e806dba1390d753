package strictyaml

import (
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
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
