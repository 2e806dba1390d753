package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

// selectsText returns all parts of a match in canonical form: equal texts select
// the same pods.
func selectsText(m *match, conditions []v1alpha1.MatchCondition) string {
	parts := make([]string, 0, 3+len(conditions))
	for _, s := range []labels.Selector{m.namespaces, m.pods} {
		text := ""
		if s != nil {
			text = s.String()
		}
		parts = append(parts, text)
	}
	parts = append(parts, strings.Join(slices.Sorted(slices.Values(m.accounts)), ","))
	for i := range conditions {
		parts = append(parts, conditions[i].Expression)
	}
	slices.Sort(parts[3:])
	return strings.Join(parts, "\n")
}

// Overlaps tells of each policy that sets a field of pods which an earlier one
// (by name) with the same selectors sets otherwise: the earlier one wins.
// Policies without such an overlap are not in the result.
func Overlaps(policies []*Policy) map[string]string {
	sorted := slices.Clone(policies)
	slices.SortFunc(sorted, func(a, b *Policy) int { return strings.Compare(a.Name, b.Name) })
	type change struct{ selects, what string }
	first := map[change]*Policy{}
	out := map[string]string{}
	for _, p := range sorted {
		if p.dryRun || p.match.broken {
			continue
		}
		var texts []string
		for _, what := range slices.Sorted(maps.Keys(p.mutation.sets())) {
			key := change{p.selects, what}
			earlier, taken := first[key]
			switch {
			case !taken:
				first[key] = p
			case earlier.mutation.sets()[what] != p.mutation.sets()[what]:
				texts = append(texts, fmt.Sprintf("spec.mutate.%s: TokenPolicy %q has the same selectors, comes first and sets it otherwise", what, earlier.Name))
			}
		}
		if len(texts) > 0 {
			out[p.Name] = strings.Join(texts, "; ")
		}
	}
	return out
}
