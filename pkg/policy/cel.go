package policy

import (
	"errors"
	"fmt"
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

// newEnvironment returns what expressions are compiled in: the libraries of the
// API server that this code was built with, and the variables of an admission
// request. Source: k8s.io/apiserver/pkg/admission/plugin/cel (whose clients a
// pure package can't import), KEP-3488.
func newEnvironment() (*cel.Env, error) {
	request, namespace := requestType(), namespaceType()
	set, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Extend(
		environment.VersionedOptions{
			IntroducedVersion: version.MajorMinor(1, 0),
			EnvOptions: []cel.EnvOption{
				cel.Variable(objectVariable, cel.DynType),
				cel.Variable(oldObjectVariable, cel.DynType),
				cel.Variable(requestVariable, request.CelType()),
				cel.Variable(namespaceVariable, namespace.CelType()),
			},
			DeclTypes: []*apiservercel.DeclType{request, namespace},
		},
		environment.StrictCostOpt,
	)
	if err != nil {
		return nil, fmt.Errorf("CEL environment: %w", err)
	}
	return set.Env(environment.StoredExpressions)
}

// fieldsOf makes an object type; a name that ends in "?" need not be there.
func fieldsOf(name string, fields map[string]*apiservercel.DeclType) *apiservercel.DeclType {
	out := make(map[string]*apiservercel.DeclField, len(fields))
	for field, t := range fields {
		field, optional := strings.CutSuffix(field, "?")
		out[field] = apiservercel.NewDeclField(field, t, !optional, nil, nil)
	}
	return apiservercel.NewObjectType(name, out)
}

// requestType declares AdmissionRequest but for uid, object and oldObject.
func requestType() *apiservercel.DeclType {
	text, texts := apiservercel.StringType, apiservercel.NewListType(apiservercel.StringType, -1)
	kind := fieldsOf("kubernetes.GroupVersionKind", map[string]*apiservercel.DeclType{"group": text, "version": text, "kind": text})
	resource := fieldsOf("kubernetes.GroupVersionResource", map[string]*apiservercel.DeclType{"group": text, "version": text, "resource": text})
	user := fieldsOf("kubernetes.UserInfo", map[string]*apiservercel.DeclType{
		"username?": text, "uid?": text, "groups?": texts, "extra?": apiservercel.NewMapType(text, texts, -1),
	})
	return fieldsOf("kubernetes.AdmissionRequest", map[string]*apiservercel.DeclType{
		"kind": kind, "resource": resource, "subResource?": text,
		"requestKind": kind, "requestResource": resource, "requestSubResource?": text,
		"name": text, "namespace?": text, "operation": text, "userInfo": user,
		"dryRun?": apiservercel.BoolType, "options?": apiservercel.DynType,
	})
}

// namespaceType declares what ValidatingAdmissionPolicy shows of a Namespace.
func namespaceType() *apiservercel.DeclType {
	text, texts := apiservercel.StringType, apiservercel.NewListType(apiservercel.StringType, -1)
	pairs := apiservercel.NewMapType(text, text, -1)
	when, number := apiservercel.TimestampType, apiservercel.IntType
	condition := fieldsOf("kubernetes.NamespaceCondition", map[string]*apiservercel.DeclType{
		"status": text, "type": text, "lastTransitionTime": when, "message": text, "reason": text,
	})
	return fieldsOf("kubernetes.Namespace", map[string]*apiservercel.DeclType{
		"metadata": fieldsOf("kubernetes.NamespaceMetadata", map[string]*apiservercel.DeclType{
			"name": text, "generateName": text, "namespace": text, "labels": pairs, "annotations": pairs, "UID": text,
			"creationTimestamp": when, "deletionGracePeriodSeconds": number, "deletionTimestamp": when,
			"generation": number, "resourceVersion": text, "finalizers": texts,
		}),
		"spec": fieldsOf("kubernetes.NamespaceSpec", map[string]*apiservercel.DeclType{"finalizers": texts}),
		"status": fieldsOf("kubernetes.NamespaceStatus", map[string]*apiservercel.DeclType{
			"conditions": apiservercel.NewListType(condition, -1), "phase": text,
		}),
	})
}

// compileCondition compiles one expression. The error is the compiler's, on one
// line.
func compileCondition(env *cel.Env, name, expression string) (condition, error) {
	checked, issues := env.Compile(expression)
	if issues.Err() != nil {
		problems := make([]string, len(issues.Errors()))
		for i, e := range issues.Errors() {
			problems[i] = fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, e.Message)
		}
		return condition{}, errors.New(strings.Join(problems, "; "))
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		return condition{}, fmt.Errorf("must evaluate to bool, but evaluates to %s", checked.OutputType())
	}
	program, err := env.Program(checked)
	if err != nil {
		return condition{}, err
	}
	out := condition{name: name, expression: expression, program: program}
	for _, r := range checked.NativeRep().ReferenceMap() {
		out.namespace = out.namespace || r.Name == namespaceVariable
	}
	result, _, err := program.Eval(cel.NoVars())
	out.never = err == nil && result == types.False
	return out, nil
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

// conditions evaluates the conditions of all policies on one request: each
// expression once, and all of them within one budget.
type conditions struct {
	variables variables
	// values is called when the first condition needs them.
	values func() *Values
	known  map[string]evaluated // by expression
	budget uint64
}

type evaluated struct {
	state facts.State
	why   string
	cost  uint64
}

func newConditions(namespace *facts.Fact, values func() *Values) *conditions {
	return &conditions{
		variables: variables{namespace: namespace}, values: values, known: map[string]evaluated{}, budget: celconfig.RuntimeCELCostBudget,
	}
}

// hold tells whether all conditions of a policy hold: Absent where one is
// false, whatever becomes of the others, and Unknown, with the first reason,
// where one fails or they cost more than the API server allows.
func (c *conditions) hold(all []condition) (state facts.State, why string) {
	state = facts.Present
	left := uint64(celconfig.RuntimeCELCostBudgetMatchConditions)
	for i := range all {
		e := c.evaluate(&all[i])
		if e.state == facts.Absent {
			return facts.Absent, ""
		}
		if e.cost > left {
			e.state, e.why = facts.Unknown, "the conditions cost more than is allowed"
		}
		if e.state == facts.Unknown {
			if state = facts.Unknown; why == "" {
				why = "condition " + quote(all[i].name, 60) + ": " + e.why
			}
		}
		left -= min(e.cost, left)
	}
	return state, why
}

func (c *conditions) evaluate(one *condition) evaluated {
	if e, ok := c.known[one.expression]; ok {
		return e
	}
	e := c.run(one)
	c.known[one.expression] = e
	return e
}

func (c *conditions) run(one *condition) evaluated {
	if c.variables.values == nil {
		if c.variables.values = c.values(); c.variables.values == nil {
			return evaluated{state: facts.Unknown, why: "the request could not be read"}
		}
	}
	if c.budget == 0 {
		return evaluated{state: facts.Unknown, why: "the conditions of all policies cost more than is allowed for one request"}
	}
	result, details, err := one.program.Eval(&c.variables)
	e := evaluated{state: facts.Unknown, cost: celconfig.PerCallLimit} // of one without details
	if details != nil && details.ActualCost() != nil {
		e.cost = *details.ActualCost()
	}
	c.budget -= min(e.cost, c.budget)
	switch {
	case err != nil:
		e.why = reason(err, one.expression)
	case result == types.True:
		e.state = facts.Present
	case result == types.False:
		e.state = facts.Absent
	}
	return e
}

// reason tells of an error of CEL what the author of the expression knows
// already. The rest may be a value of the object, which goes into no log and no
// annotation: int(env.value) fails with the value in its text.
func reason(err error, expression string) string {
	text := err.Error()
	if strings.Contains(text, "cost limit exceeded") {
		return "it costs more than is allowed"
	}
	for _, known := range []string{"no such key", "no such attribute(s)"} {
		if name, ok := strings.CutPrefix(text, known+": "); ok {
			if strings.Contains(expression, name) {
				return known + ": " + name
			}
			return known
		}
	}
	if strings.HasPrefix(text, "no such overload") {
		return "no such overload"
	}
	return "it can't be evaluated for this object"
}
