package sim

// policies are the fields of the TokenPolicies of the simulator. There is one,
// which takes the place of the defaults: it refuses whatever the oracle calls bad,
// and minds nothing else. Where it is strict it refuses what is unknown, too.
func policies(strict bool) map[string]map[string]any {
	var rules []any
	for _, check := range []string{
		"secret-exists", "secret-key-exists", "config-map-exists", "token-valid", "token-secret-owner", "token-secret-populated", "token-ca-current",
	} {
		rules = append(rules, map[string]any{"name": check, "action": "Deny"})
	}
	for _, check := range []string{"token-own-account", "token-long-lived", "token-in-environment", "token-default-account", "token-required"} {
		rules = append(rules, map[string]any{"name": check, "action": "Off"})
	}
	spec := map[string]any{"checks": rules}
	if strict {
		spec["onUnknown"] = "Deny"
	}
	return map[string]map[string]any{"default": {"spec": spec}}
}
