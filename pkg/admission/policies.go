package admission

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/policy"
)

// PolicyHandler refuses TokenPolicies that do not compile, and warns about what
// in them has no effect. It needs nothing of the cluster: whoever mends a policy
// never waits for a cache. Of Endpoint it needs neither Policies nor Source, nor
// Ready.
type PolicyHandler struct {
	Endpoint
	Compiler *policy.Compiler
}

// ServeHTTP implements http.Handler.
func (h *PolicyHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, func(_ time.Time, body []byte, a *answered) error {
		in, err := decode[json.RawMessage](body, "a TokenPolicy")
		if err != nil {
			return err
		}
		a.kind, a.operation = v1alpha1.TokenPolicyKind, in.Operation
		verdict := h.judge(in)
		a.review, a.outcome = answer(in.UID, &verdict), "allow"
		switch {
		case !verdict.Allowed:
			a.outcome = "deny"
			a.review.Response.Result.Code = http.StatusUnprocessableEntity
			a.review.Response.Result.Reason = "Invalid"
		case len(verdict.Warnings) > 0:
			a.outcome = "warn"
		}
		return nil
	}, h.unjudged)
}

func (h *PolicyHandler) judge(in *request[json.RawMessage]) policy.Verdict {
	if in.SubResource != "" || (in.Operation != admissionv1.Create && in.Operation != admissionv1.Update) {
		return policy.Verdict{Allowed: true}
	}
	p := &v1alpha1.TokenPolicy{}
	if err := json.Unmarshal(in.Object, p); err != nil {
		return policy.Verdict{Message: "the TokenPolicy can't be read: " + err.Error()}
	}
	if p.Name == "" && p.GenerateName != "" {
		p.Name = "generated"
	}
	compiled, errs := h.Compiler.Compile(p)
	if len(errs) == 0 {
		return policy.Verdict{Allowed: true, Warnings: slices.Concat(compiled.Warnings, compiled.Expired(h.Now()), h.holdWarnings(compiled))}
	}
	var old v1alpha1.TokenPolicy
	if in.Operation == admissionv1.Update && json.Unmarshal(in.OldObject, &old) == nil {
		// What was wrong before, written while this webhook was down or newer, need
		// not be mended by whoever changes something else.
		_, before := h.Compiler.Compile(&old)
		errs = slices.DeleteFunc(errs, func(err *field.Error) bool {
			return slices.ContainsFunc(before, func(known *field.Error) bool { return sameFault(err, known) })
		})
	}
	if len(errs) == 0 || p.DeletionTimestamp != nil {
		_, all := h.Compiler.Compile(p)
		return policy.Verdict{Allowed: true, Warnings: lines(all)}
	}
	return policy.Verdict{Message: strings.Join(lines(errs), "; ")}
}

// holdWarnings tell that no pods are held.
func (h *PolicyHandler) holdWarnings(p *policy.Policy) []string {
	checks := p.Holds(h.Compiler.Checks())
	if len(checks) == 0 || h.Policies.Snapshot().HoldsPods() {
		return nil
	}
	return []string{"Tokenward runs without --hold: Hold acts as Warn for " + strings.Join(checks, ", ")}
}

var index = regexp.MustCompile(`\[[0-9]+\]`)

// sameFault compares errors, wherever in a list they stand.
func sameFault(a, b *field.Error) bool {
	return index.ReplaceAllString(a.Error(), "") == index.ReplaceAllString(b.Error(), "")
}

// lines has one line for each error.
func lines(errs field.ErrorList) []string {
	out := make([]string, len(errs))
	for i, err := range errs {
		out[i] = strings.Join(strings.Fields(err.Error()), " ")
	}
	return out
}
