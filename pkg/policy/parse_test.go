package policy

import (
	"strings"
	"testing"
)

// full has every field of a TokenPolicy.
const full = `apiVersion: tokenward.dev/v1alpha1
kind: TokenPolicy
metadata: {name: payments}
spec:
  mode: Enforce
  match:
    namespaceSelector: {matchLabels: {team: payments}}
    podSelector: {}
    serviceAccountNames: []
  matchConditions:
    - {name: not-a-debug-pod, expression: "!object.?metadata.?name.orValue('').startsWith('debug-')"}
  checks:
    - {name: secret-exists, action: Deny}
    - {name: secret-key-exists, action: None, onUnknown: Allow}
  failurePolicy: Fail
  templateAction: Warn
  mutate:
    serviceAccount: {name: payments-runner, when: Unset}
    automountServiceAccountToken: false
    longLivedTokenVolumes: {project: Existing, expirationSeconds: 3607}
    recordAnnotation: false
  exemptions:
    - {name: legacy, namespaces: [legacy], checks: [secret-exists], until: "2027-03-31T00:00:00Z", reason: "moves in Q1"}
    - {name: other, namespaceSelector: {}, podSelector: {matchLabels: {a: b}}, serviceAccountNames: [x], objects: [{kind: Secret, name: y}], users: [u], groups: [g]}
`

func TestParseTakesEveryField(t *testing.T) {
	policies, err := NewCompiler(Checks()).Parse("p.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if len(policies) != 1 || policies[0].Name != "payments" || len(policies[0].Warnings) != 0 {
		t.Errorf("got %+v", policies)
	}
}

func TestParseErrorsNameTheFieldAndTheCure(t *testing.T) {
	// Each replaces one line of the full policy.
	tests := []struct {
		name, old, new, want string
	}{
		{"an unknown field", "  failurePolicy: Fail", "  failurPolicy: Fail", `p.yaml:15: document 1: spec.failurPolicy: unknown field; did you mean "failurePolicy"?`},
		{"an unknown field far from any", "  failurePolicy: Fail", "  xyz: 1", `p.yaml:15: document 1: spec.xyz: unknown field; known here: checks, exemptions, failurePolicy, hold, match, matchConditions, mode, mutate, onUnknown, templateAction`},
		{"an unknown field in a list", "secret-exists, action: Deny}", "secret-exists, acton: Deny}", `p.yaml:13: document 1: spec.checks[0].acton: unknown field; did you mean "action"?`},
		{"an unknown check", "name: secret-exists, action: Deny", "name: secret-exist, action: Deny", `p.yaml:13: document 1: spec.checks[0].name: Invalid value: "secret-exist": unknown check; did you mean "secret-exists"?`},
		{"an unknown check in an exemption", "checks: [secret-exists]", "checks: [config-map-exist]", `spec.exemptions[0].checks[0]: Invalid value: "config-map-exist": unknown check; did you mean "config-map-exists"?`},
		{"an unknown action", "secret-exists, action: Deny", "secret-exists, action: Refuse", `p.yaml:13: document 1: spec.checks[0].action: Unsupported value: "Refuse": supported values: "None", "Audit", "Warn", "Hold", "Deny"`},
		{"the former Off", "action: None", "action: Off", `p.yaml:14: document 1: spec.checks[1].action: Invalid value: "Off": is now "None"`},
		{"no action", "secret-exists, action: Deny}", "secret-exists}", `spec.checks[0].action: Required value: write what the check leads to: None, Audit, Warn, Hold, Deny`},
		{"Hold for what waiting can't heal", "secret-exists, action: Deny}", "token-in-environment, action: Hold}", `spec.checks[0].action: Invalid value: "Hold": waiting does not heal what token-in-environment finds`},
		{"the former place of onUnknown", "  failurePolicy: Fail", "  onUnknown: Deny", `p.yaml:15: document 1: spec.onUnknown: Forbidden: has moved to spec.checks[].onUnknown`},
		{"the former templateAction Off", "templateAction: Warn", "templateAction: Off", `spec.templateAction: Invalid value: "Off": is now "None"`},
		{"a former list of names", "objects: [{kind: Secret, name: y}]", "objectNames: [y]", `spec.exemptions[1].objectNames: Forbidden: has moved to objects`},
		{"an exemption without a name", "{name: legacy, namespaces", "{namespaces", `spec.exemptions[0].name: Required value`},
		{"an exemption's name twice", "{name: other, ", "{name: legacy, ", `spec.exemptions[1].name: Duplicate value: "legacy"`},
		{"an object of a kind that nobody refers to", "kind: Secret, name: y", "kind: Pod, name: y", `spec.exemptions[1].objects[0].kind: Unsupported value: "Pod"`},
		{"an object without a name", "kind: Secret, name: y", "kind: Secret", `spec.exemptions[1].objects[0].name: Required value`},
		{"a hold that is too long", "  failurePolicy: Fail", "  hold: {maxDuration: 25h}", `spec.hold.maxDuration: Invalid value: "25h0m0s": must be between 1s and 24h`},
		{"a check twice", "secret-key-exists, action: None", "secret-exists, action: None", `spec.checks[1].name: Duplicate value: "secret-exists"`},
		{"an unknown mode", "mode: Enforce", "mode: Dryrun", `spec.mode: Unsupported value: "Dryrun": supported values: "Enforce", "DryRun"`},
		{"a wrong type", "failurePolicy: Fail", "failurePolicy: [Fail]", `p.yaml:15: document 1: spec.failurePolicy: expected a string, found array`},
		{"Hold as templateAction", "templateAction: Warn", "templateAction: Hold", `spec.templateAction: Unsupported value: "Hold": supported values: "Warn", "None", "Audit", "Deny"`},
		{"a selector that is none", "{matchLabels: {team: payments}}", "{matchExpressions: [{key: a, operator: Is}]}", `spec.match.namespaceSelector: Invalid value`},
		{"a date that is none", "2027-03-31T00:00:00Z", "31.3.2027", `p.yaml:23: document 1: spec.exemptions[0].until: expected a time such as 2027-03-31T00:00:00Z, found "31.3.2027"`},
		{"a duration that is none", "secret-exists, action: Deny}", "token-secret-populated, action: Deny, parameters: {gracePeriod: 30x}}", `p.yaml:13: document 1: spec.checks[0].parameters.gracePeriod: expected a duration such as 30s or 5m, found "30x"`},
		{"a number for a word", "when: Unset", "when: 5", `p.yaml:18: document 1: spec.mutate.serviceAccount.when: expected a string, found number`},
		{"a second document without a line of its own", "  failurePolicy: Fail", "--- {a: 1}\nspec:", `p.yaml:15: document 1: a second document starts here`},
		{"an exemption for everything", `namespaces: [legacy], checks: [secret-exists], until: "2027-03-31T00:00:00Z", reason: "moves in Q1"}`, "reason: why not}", "spec.exemptions[0]: Required value: an exemption must select something"},
		{"an empty name in a list", "users: [u]", `users: [""]`, "spec.exemptions[1].users[0]: Required value"},
		{"no name", "metadata: {name: payments}", "metadata: {}", "metadata.name: Required value"},
		{"a name that is none", "name: payments}", "name: Pay Ments}", "metadata.name: Invalid value"},
		{"another kind", "kind: TokenPolicy", "kind: TokenPolice", `p.yaml:2: document 1: kind: expected "TokenPolicy", found "TokenPolice"`},
		{"another version", "tokenward.dev/v1alpha1", "tokenward.dev/v1", `p.yaml:1: document 1: apiVersion: expected "tokenward.dev/v1alpha1", found "tokenward.dev/v1"`},
		{"a key twice", "  mode: Enforce", "  mode: Enforce\n  mode: DryRun", `p.yaml:6: document 1: mapping key "mode" already defined at line 5`},
		{"no YAML", "  mode: Enforce", "  mode: {", `p.yaml:`},
		{"an expiry out of range", "expirationSeconds: 3607", "expirationSeconds: 60", "spec.mutate.longLivedTokenVolumes.expirationSeconds: Invalid value: 60: must be between 600 and 4294967296"},
		{"a parameter that the check does not have", "secret-exists, action: Deny}", "secret-exists, action: Deny, parameters: {gracePeriod: 30s}}", "spec.checks[0].parameters.gracePeriod: Forbidden: the check secret-exists has no such parameter"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(full, tt.old, tt.new, 1)
			if text == full {
				t.Fatalf("%q is not in the policy", tt.old)
			}
			_, err := NewCompiler(Checks()).Parse("p.yaml", []byte(text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestParseTellsAllErrorsOfAllDocuments(t *testing.T) {
	_, err := NewCompiler(Checks()).Parse("p.yaml", []byte(strings.Replace(full, "mode:", "mood:", 1)+"---\n# nothing\n---\n"+
		strings.Replace(full, "secret-key-exists", "nonsense", 1)+"---\n"+full+"---\n"+full))
	if err == nil {
		t.Fatal("want errors")
	}
	for _, want := range []string{
		"p.yaml:5: document 1: spec.mood: unknown field; did you mean \"mode\"?",
		"p.yaml:41: document 2: spec.checks[1].name: Invalid value: \"nonsense\": unknown check; known are secret-exists,",
		`document 4: metadata.name: "payments" is the name of document 3, too`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in:\n%v", want, err)
		}
	}
}
