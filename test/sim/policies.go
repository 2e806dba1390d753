package sim

// policies are the fields of the TokenPolicies of the simulator: one refuses
// whatever the oracle calls bad.
func policies() map[string]map[string]any {
	rule := func(check string) map[string]any { return map[string]any{"name": check, "action": "Deny"} }
	return map[string]map[string]any{
		"deny": {"spec": map[string]any{
			"checks": []any{
				rule("secret-exists"), rule("secret-key-exists"), rule("config-map-exists"),
				rule("token-valid"), rule("token-secret-owner"), rule("token-secret-populated"),
			},
		}},
	}
}
