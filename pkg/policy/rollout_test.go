package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/workload"
)

// programs are the two versions of a rolling upgrade. Only the newer one has the
// functions of Kubernetes 1.34, such as distinct of a list.
func programs(t *testing.T) (older, newer *Compiler) {
	t.Helper()
	all, err := newEnvironments(version.MajorMinor(1, 33))
	if err != nil {
		t.Fatal(err)
	}
	// What the older one knows is what the newer one lets people write.
	before := &environments{written: all.written, stored: all.written, typed: all.written}
	compiler := func(known *environments) *Compiler {
		return &Compiler{checks: Checks(), environments: func() (*environments, error) { return known, nil }}
	}
	return compiler(before), compiler(all)
}

const (
	trueOfTheNewer  = "[object.metadata.name].distinct() == ['web']"
	falseOfTheNewer = "[object.metadata.name].distinct() == []"
)

func compileSpec(t *testing.T, compiler *Compiler, spec string) (*Policy, string) {
	t.Helper()
	p := &v1alpha1.TokenPolicy{}
	if err := yaml.UnmarshalStrict([]byte("metadata: {name: p}\nspec: "+spec), p); err != nil {
		t.Fatal(err)
	}
	compiled, errs := compiler.Compile(p)
	return compiled, fmt.Sprint(errs.ToAggregate())
}

// Whichever replica is asked, the answer is the same.
func TestWhatOnlyTheNewerProgramKnowsCanNotBeWrittenDuringARollout(t *testing.T) {
	older, newer := programs(t)
	spec := fmt.Sprintf(`{matchConditions: [{name: new, expression: "%s"}], checks: [{name: secret-exists, action: Deny}]}`, trueOfTheNewer)
	for name, compiler := range map[string]*Compiler{"older": older, "newer": newer} {
		if _, err := compileSpec(t, compiler, spec); !strings.Contains(err, "spec.matchConditions[0].expression") || !strings.Contains(err, "undeclared reference to 'distinct'") {
			t.Errorf("%s: want a refusal that names field and function, got %s", name, err)
		}
	}
	if _, err := compileSpec(t, newer.Stored(), spec); err != "<nil>" {
		t.Errorf("the newer program does not take it from the store: %s", err)
	}
}

// A policy that is stored all the same, because the webhook was down or after a
// rollback, is never left out: without the condition it counts as matching.
func TestAStoredPolicyOfTheNewerProgramIsNeverLeftOut(t *testing.T) {
	older, newer := programs(t)
	for name, tt := range map[string]struct {
		compiler         *Compiler
		expression, rest string
		denied           bool
		told             string
	}{
		"the newer program evaluates it":               {compiler: newer, expression: trueOfTheNewer, denied: true},
		"the newer program excludes the pod":           {compiler: newer, expression: falseOfTheNewer},
		"to the older one it counts as matching":       {compiler: older, expression: trueOfTheNewer, denied: true, told: `condition "new" does not compile`},
		"also where the newer one would exclude":       {compiler: older, expression: falseOfTheNewer, denied: true, told: `condition "new" does not compile`},
		"the rest of the match still excludes":         {compiler: older, expression: trueOfTheNewer, rest: `match: {podSelector: {matchLabels: {app: db}}}`},
		"a dry run only records":                       {compiler: older, expression: trueOfTheNewer, rest: "mode: DryRun", told: `condition "new" does not compile`},
		"only who writes Ignore has it left out":       {compiler: older, expression: trueOfTheNewer, rest: "failurePolicy: Ignore", told: `condition "new" does not compile`},
		"and not from the program that understands it": {compiler: newer, expression: trueOfTheNewer, rest: "failurePolicy: Ignore", denied: true},
	} {
		t.Run(name, func(t *testing.T) {
			stored, _ := compileSpec(t, tt.compiler.Stored(), fmt.Sprintf(
				`{matchConditions: [{name: new, expression: "%s"}], checks: [{name: secret-exists, action: Deny}], mutate: {automountServiceAccountToken: false}, %s}`, tt.expression, tt.rest))
			snapshot := NewSnapshot(Checks(), []*Policy{stored}, Options{})
			attributes := &Attributes{
				Operation: admissionv1.Create, Namespace: testNamespace, Pod: workload.OfPod(webPod()), Now: time.Unix(1e9, 0),
				Values: func() *Values {
					return &Values{Object: map[string]any{"metadata": map[string]any{"name": "web"}}, Request: map[string]any{}}
				},
			}
			plan := snapshot.Plan(attributes)
			verdict := plan.Judge(world{secret: facts.Fact{State: facts.Absent}}.gather(plan.Needs))
			if verdict.Allowed == tt.denied {
				t.Errorf("allowed: %t, %s", verdict.Allowed, verdict.Message)
			}
			if got := fmt.Sprint(verdict.Undecided); !strings.Contains(got, tt.told) || (tt.told == "") != (got == "[]") {
				t.Errorf("undecided: %s, want %q", got, tt.told)
			}
			// What it would change is refused under the same rule, and never skipped.
			changes := snapshot.PlanMutations(attributes).Changes(&facts.Set{})
			if refused := tt.denied && tt.told != ""; (changes.Refusal != nil) != refused {
				t.Errorf("the change is refused: %+v, want %t", changes.Refusal, refused)
			} else if refused && !strings.Contains(changes.Refusal.Message, tt.told) {
				t.Errorf("the refusal does not say why: %s", changes.Refusal.Message)
			}
			if changed := tt.denied && tt.told == ""; (len(changes.Mutations) > 0) != changed {
				t.Errorf("changes: %+v, want any: %t", changes.Mutations, changed)
			}
		})
	}
}

// The libraries that this program lets people use are those of the version of
// Kubernetes before the one that it is built with.
func TestTheWrittenLibrariesAreThoseOfTheVersionBefore(t *testing.T) {
	oldest := environment.DefaultCompatibilityVersion()
	for expression, introduced := range map[string]*version.Version{
		"ip.isCanonical('127.0.0.1')":   version.MajorMinor(1, 30),
		"isSemver('1.0.0')":             version.MajorMinor(1, 33),
		"[1, 1].distinct() == [1]":      version.MajorMinor(1, 34),
		"['a', 'b'].includes('a')":      version.MajorMinor(1, 37),
		"['a'].all(i, v, v == 'a')":     version.MajorMinor(1, 32),
		"sets.contains([1, 2, 3], [1])": version.MajorMinor(1, 29),
	} {
		spec := fmt.Sprintf(`{matchConditions: [{name: c, expression: "%s"}]}`, expression)
		if _, err := compileSpec(t, NewCompiler(Checks()), spec); (err == "<nil>") != oldest.AtLeast(introduced) {
			t.Errorf("%s, of %s while %s may run: %s", expression, introduced, oldest, err)
		}
		if _, err := compileSpec(t, NewCompiler(Checks()).Stored(), spec); err != "<nil>" {
			t.Errorf("%s, stored: %s", expression, err)
		}
	}
}
