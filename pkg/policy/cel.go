package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"tokenward.dev/tokenward/pkg/facts"
)

// The variables of a condition, as in ValidatingAdmissionPolicy. There is no
// authorizer, which would have to ask an API server.
const (
	objectVariable    = "object"
	oldObjectVariable = "oldObject"
	requestVariable   = "request"
	namespaceVariable = "namespaceObject"
)

// Values are what conditions see of a request: decoded JSON, whole numbers as
// int64. Object and OldObject are Pods; OldObject is nil where there is none.
// Request has the fields of admission.k8s.io/v1 AdmissionRequest.
type Values struct {
	Object, OldObject, Request map[string]any
}

// condition is a CEL expression ready to be evaluated.
type condition struct {
	name, expression string

	program cel.Program
	// namespace is true where it looks at the Namespace.
	namespace bool
	// never is true for an expression that is false whatever is asked.
	never bool
}

// environments are what expressions are compiled in: the libraries of the API
// server that this code was built with, and the variables of an admission request.
// Source: k8s.io/apiserver/pkg/admission/plugin/cel (whose clients a pure package
// can't import), KEP-3488.
type environments struct {
	// written is for expressions that somebody writes now: it has what the oldest
	// version has that may run beside this one. stored is for those that were written
	// before, perhaps by way of a newer version (KEP-3488, "New Expressions").
	written, stored *cel.Env
	// typed knows the fields of a Pod, which the others do not mind.
	typed *cel.Env
}

// newEnvironments makes them so that what is written is known to a version with the
// libraries of oldest, too.
func newEnvironments(oldest *version.Version) (*environments, error) {
	request, namespace, pod := requestType(), namespaceType(), podType()
	base, err := environment.MustBaseEnvSet(oldest).Extend(environment.StrictCostOpt)
	if err != nil {
		return nil, fmt.Errorf("CEL environment: %w", err)
	}
	extend := func(object *cel.Type, types ...*apiservercel.DeclType) *environment.EnvSet {
		set, failure := base.Extend(environment.VersionedOptions{
			IntroducedVersion: version.MajorMinor(1, 0),
			EnvOptions: []cel.EnvOption{
				cel.Variable(objectVariable, object), cel.Variable(oldObjectVariable, object),
				cel.Variable(requestVariable, request.CelType()), cel.Variable(namespaceVariable, namespace.CelType()),
			},
			DeclTypes: append(types, request, namespace),
		})
		err = errors.Join(err, failure)
		return set
	}
	dynamic, typed := extend(cel.DynType), extend(pod.CelType(), pod)
	if err != nil {
		return nil, fmt.Errorf("CEL environment: %w", err)
	}
	out := &environments{}
	for _, one := range []struct {
		to   **cel.Env
		from *environment.EnvSet
		kind environment.Type
	}{
		{&out.written, dynamic, environment.NewExpressions},
		{&out.stored, dynamic, environment.StoredExpressions},
		{&out.typed, typed, environment.StoredExpressions},
	} {
		if *one.to, err = one.from.Env(one.kind); err != nil {
			return nil, fmt.Errorf("CEL environment: %w", err)
		}
	}
	return out, nil
}

// compileCondition compiles one expression. The error is the compiler's, on one
// line.
func compileCondition(env *cel.Env, name, expression string) (condition, error) {
	checked, issues := env.Compile(expression)
	if issues.Err() != nil {
		return condition{}, errors.New(oneLine(issues))
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		return condition{}, fmt.Errorf("must evaluate to bool, but evaluates to %s", checked.OutputType())
	}
	program, err := env.Program(checked, cel.InterruptCheckFrequency(celconfig.CheckFrequency))
	if err != nil {
		return condition{}, err
	}
	out := condition{name: name, expression: expression, program: program}
	constant := true
	for _, r := range checked.NativeRep().ReferenceMap() {
		out.namespace = out.namespace || r.Name == namespaceVariable
		constant = constant && !slices.Contains([]string{objectVariable, oldObjectVariable, requestVariable, namespaceVariable}, r.Name)
	}
	out.never = constant && isFalse(env, checked)
	return out, nil
}

// maxConstantCost bounds what it may take to find out that an expression is always
// false.
const maxConstantCost = 10_000

func isFalse(env *cel.Env, checked *cel.Ast) bool {
	program, err := env.Program(checked, cel.CostLimit(maxConstantCost))
	if err != nil {
		return false
	}
	result, _, err := program.Eval(cel.NoVars())
	return err == nil && result == types.False
}

func oneLine(issues *cel.Issues) string {
	problems := make([]string, len(issues.Errors()))
	for i, e := range issues.Errors() {
		problems[i] = fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, e.Message)
	}
	return strings.Join(problems, "; ")
}

// typeWarning returns what in an expression does not fit a Pod, such as a
// misspelled field; "" for nothing. The expression was compiled before.
func (e *environments) typeWarning(expression string) string {
	if _, issues := e.typed.Compile(expression); issues.Err() != nil {
		return oneLine(issues)
	}
	return ""
}

// variables resolves the variables of a condition. A Namespace that is not
// known is no variable at all, so that what depends on it is an error.
type variables struct {
	values    *Values
	namespace *facts.Fact
}

// Parent implements cel.Activation.
func (*variables) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (v *variables) ResolveName(name string) (any, bool) {
	orNull := func(m map[string]any) any {
		if m == nil {
			return nil
		}
		return m
	}
	switch name {
	case objectVariable:
		return orNull(v.values.Object), true
	case oldObjectVariable:
		return orNull(v.values.OldObject), true
	case requestVariable:
		return v.values.Request, true
	case namespaceVariable:
		return v.namespace.Whole, v.namespace.State == facts.Present && v.namespace.Whole != nil
	}
	return nil, false
}
