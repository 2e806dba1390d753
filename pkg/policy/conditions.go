package policy

import (
	"strings"
	"time"

	"github.com/google/cel-go/common/types"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"tokenward.dev/tokenward/pkg/facts"
)

// conditions evaluates the conditions of all policies in one review, whether they
// judge the pod or change it: each expression once for each state of the pod, and
// all of them within one budget. Everything that a review asks shares it.
type conditions struct {
	budget uint64
	// done is closed when nobody waits for the answer any more; nil for never.
	done   <-chan struct{}
	values map[string]*Values              // by state of the pod
	known  map[string]map[string]evaluated // by state of the pod, then by expression
}

func newConditions(done <-chan struct{}) *conditions {
	return &conditions{
		budget: celconfig.RuntimeCELCostBudget, done: done, values: map[string]*Values{}, known: map[string]map[string]evaluated{},
	}
}

// evaluated is what an expression comes to.
type evaluated struct {
	state facts.State
	why   string
	cost  uint64
	// costly is set where it is unknown because it takes too much to find out.
	costly bool
}

// evaluation is what conditions are evaluated on: a pod in one of its states.
type evaluation struct {
	*conditions
	attributes *Attributes
	namespace  *facts.Fact
}

// hold tells whether all conditions of a policy hold: Absent where one is
// false, whatever becomes of the others, and Unknown, with the first reason,
// where one fails or they cost more than the API server allows.
func (s *evaluation) hold(all []condition) evaluated {
	out := evaluated{state: facts.Present}
	left := uint64(celconfig.RuntimeCELCostBudgetMatchConditions)
	for i := range all {
		e := s.evaluate(&all[i])
		if e.state == facts.Absent {
			return evaluated{state: facts.Absent}
		}
		if e.cost > left {
			e.state, e.why, e.costly = facts.Unknown, "the conditions cost more than is allowed", true
		}
		if e.state == facts.Unknown {
			if out.state = facts.Unknown; out.why == "" {
				out.why = "condition " + quote(all[i].name, 60) + ": " + e.why
			}
			out.costly = out.costly || e.costly
		}
		left -= min(e.cost, left)
	}
	return out
}

func (s *evaluation) evaluate(one *condition) evaluated {
	known := s.known[s.attributes.State]
	if known == nil {
		known = map[string]evaluated{}
		s.known[s.attributes.State] = known
	}
	e, ok := known[one.expression]
	if !ok {
		e = s.run(one)
		known[one.expression] = e
	}
	return e
}

// see returns what conditions see of the pod; nil if that can't be told.
func (s *evaluation) see() *Values {
	values, ok := s.values[s.attributes.State]
	if !ok {
		if s.attributes.Values != nil {
			values = s.attributes.Values()
		}
		s.values[s.attributes.State] = values
	}
	return values
}

func (s *evaluation) run(one *condition) evaluated {
	values := s.see()
	if values == nil {
		return evaluated{state: facts.Unknown, why: "the request could not be read"}
	}
	if s.budget == 0 {
		return evaluated{state: facts.Unknown, costly: true, why: "the conditions of all policies cost more than is allowed for one request"}
	}
	result, details, err := one.program.ContextEval(interruption{s.done}, &variables{values: values, namespace: s.namespace})
	e := evaluated{state: facts.Unknown, cost: celconfig.PerCallLimit} // of one without details
	if details != nil && details.ActualCost() != nil {
		e.cost = *details.ActualCost()
	}
	s.budget -= min(e.cost, s.budget)
	switch {
	case err != nil:
		e.why, e.costly = reason(err, one.expression)
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
func reason(err error, expression string) (why string, costly bool) {
	text := err.Error()
	if strings.Contains(text, "cost limit exceeded") {
		return "it costs more than is allowed", true
	}
	if strings.Contains(text, "operation interrupted") {
		return "it takes longer than the request lasts", true
	}
	for _, known := range []string{"no such key", "no such attribute(s)"} {
		if name, ok := strings.CutPrefix(text, known+": "); ok {
			if strings.Contains(expression, name) {
				return known + ": " + name, false
			}
			return known, false
		}
	}
	if strings.HasPrefix(text, "no such overload") {
		return "no such overload", false
	}
	return "it can't be evaluated for this object", false
}

// interruption is the context of an evaluation, which looks at Done alone. It is
// made of a plain value, so that judgement needs no context.
type interruption struct{ done <-chan struct{} }

// Done returns the channel that ends the evaluation when it is closed.
func (i interruption) Done() <-chan struct{} { return i.done }

// Err tells why it has ended.
func (i interruption) Err() error {
	select {
	case <-i.done:
		return errInterrupted{}
	default:
		return nil
	}
}

// Deadline returns none: whoever closes Done knows when.
func (interruption) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }

// Value returns nothing.
func (interruption) Value(any) any { return nil }

// AfterFunc never calls what it gets, and saves the goroutine that would wait to:
// no evaluation passes its context on.
func (interruption) AfterFunc(func()) (stop func() bool) { return func() bool { return true } }

type errInterrupted struct{}

// Error implements error.
func (errInterrupted) Error() string { return "nobody waits for the answer any more" }
