package cases

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/policy/rewrite"
)

// Outcome is what becomes of the request of a case.
type Outcome struct {
	policy.Verdict
	// Mutation is what policies changed before; nil in the phase validate.
	Mutation *rewrite.Result
	// Object after the patch.
	Object json.RawMessage
}

// AllWarnings are those of both phases.
func (o *Outcome) AllWarnings() []string {
	if o.Mutation == nil {
		return o.Warnings
	}
	return slices.Concat(o.Mutation.Warnings, o.Warnings)
}

// AllAnnotations are those of both phases.
func (o *Outcome) AllAnnotations() map[string]string {
	all := map[string]string{}
	if o.Mutation != nil {
		maps.Copy(all, o.Mutation.AuditAnnotations())
	}
	maps.Copy(all, o.AuditAnnotations())
	return all
}

// Outcome runs the case.
func (c *Case) Outcome() (*Outcome, error) {
	object := c.File.Request.Object
	if c.File.Phase != phaseMutate {
		return &Outcome{Verdict: c.VerdictOn(c.review), Object: object}, nil
	}
	result := c.MutationOf(c.review)
	if r := result.Refusal; r != nil {
		return &Outcome{Verdict: policy.Verdict{Message: r.Message, Code: r.Code}, Mutation: &result, Object: object}, nil
	}
	patched, err := rewrite.Apply(object, result.Operations)
	if err != nil {
		return nil, fmt.Errorf("the patch does not apply: %w", err)
	}
	out, review := &Outcome{Mutation: &result, Object: patched}, c.review
	if len(result.Operations) > 0 {
		if review, err = c.reviewOf(patched); err != nil {
			return nil, fmt.Errorf("the patched object: %w", err)
		}
	}
	out.Verdict = c.VerdictOn(review)
	return out, nil
}

// differences compares JSON values; at is where they stand.
func (d *differences) values(at string, want, got any) {
	switch want := want.(type) {
	case map[string]any:
		if got, ok := got.(map[string]any); ok {
			keys := slices.Sorted(maps.Keys(want))
			for _, k := range slices.Sorted(maps.Keys(got)) {
				if _, ok := want[k]; !ok {
					keys = append(keys, k)
				}
			}
			for _, k := range keys {
				d.member(at+"."+k, want, got, k)
			}
			return
		}
	case []any:
		if got, ok := got.([]any); ok && len(got) == len(want) {
			for i := range want {
				d.values(at+"["+strconv.Itoa(i)+"]", want[i], got[i])
			}
			return
		}
	}
	if w, g := compact(want), compact(got); w != g {
		d.add(at, w, g)
	}
}

func (d *differences) member(at string, want, got map[string]any, key string) {
	w, expected := want[key]
	g, given := got[key]
	switch {
	case !expected:
		*d = append(*d, at+": not expected: "+compact(g))
	case !given:
		*d = append(*d, at+": expected, but not there: "+compact(w))
	default:
		d.values(at, w, g)
	}
}

func compact(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error() // decoded JSON: it can't fail
	}
	return string(text)
}

func (d *differences) patched(want, got json.RawMessage) {
	var w, g any
	if err := json.Unmarshal(want, &w); err != nil {
		*d = append(*d, "patched: "+err.Error())
		return
	}
	if err := json.Unmarshal(got, &g); err != nil {
		*d = append(*d, "the patched object: "+err.Error())
		return
	}
	d.values("patched", w, g)
}
