package sim

import (
	"slices"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/policy"
)

// policies are the fields of the TokenPolicies of the simulator. There is one,
// which takes the place of the built-in one: it refuses whatever the oracle calls bad,
// and minds nothing else. Where it is strict it refuses what is unknown, too.
func policies(strict bool) map[string]map[string]any {
	denied := []string{
		"secret-exists", "secret-key-exists", "config-map-exists",
		"token-valid", "token-secret-owner", "token-secret-populated", "token-ca-current",
	}
	var rules []any
	checks := policy.Checks()
	for i := range checks {
		action := v1alpha1.Actions()[0] // the weakest
		if slices.Contains(denied, checks[i].ID) {
			action = v1alpha1.Deny
		}
		rule := map[string]any{"name": checks[i].ID, "action": string(action)}
		if strict {
			rule["onUnknown"] = "Deny"
		}
		rules = append(rules, rule)
	}
	return map[string]map[string]any{policy.DefaultName: {"spec": map[string]any{"checks": rules}}}
}
