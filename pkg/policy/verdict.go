package policy

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
)

// The HTTP status of a refusal.
const (
	Forbidden = 403
	// TooManyRequests is for what may pass a moment later.
	TooManyRequests = 429
)

// Refusal is why a pod is refused before it is judged.
type Refusal struct {
	Message string
	// Code is Forbidden or TooManyRequests.
	Code int32
}

// Verdict is the answer to a review.
type Verdict struct {
	Allowed bool
	// Passed names the rule that let the object pass unjudged, or is empty.
	Passed string
	// Findings that led to Audit or more, in the order of the table of checks
	// and then of the fields. At most one for each reference and check.
	Findings []Finding
	// Would are the findings with the action that policies in dry run would
	// have taken.
	Would []Finding
	// Held says whether the pod is held.
	Held Held
	// Undecided are policies of which it is unknown whether they match.
	Undecided []Undecided
	// Message tells why the object is refused; empty if it is allowed.
	Message string
	// Code of a refusal is Forbidden, or TooManyRequests where every reason for it may
	// be gone a moment later.
	Code int32
	// Warnings for the person who made the request, a line a finding.
	Warnings []string
}

// Outcome sums the verdict up in one word, from a closed set: deny, hold, warn,
// audit or allow.
func (v *Verdict) Outcome() string {
	strongest := v1alpha1.None
	for i := range v.Findings {
		strongest = v1alpha1.Stronger(strongest, v.Findings[i].Action)
	}
	if strongest == v1alpha1.None {
		return "allow"
	}
	return strings.ToLower(string(strongest))
}

// maxDenial keeps the message of a refusal whole in an Event, which holds 1,024
// characters, behind what the API server and the controllers put before it.
const maxDenial = 800

// maxWarnings is what the API server passes on uncut, all warnings together.
const maxWarnings = 4096

func (p *Plan) verdict(rulings []ruling) Verdict {
	v := Verdict{Allowed: true, Undecided: p.matching.undecided, Held: p.held(rulings)}
	var denied, policies []string
	named := map[string]bool{} // those of policies
	v.Code = TooManyRequests   // until a finding is denied for another reason
	for i := range rulings {
		r := &rulings[i]
		if r.would.StrongerThan(v1alpha1.None) {
			would := r.finding
			would.Action, would.Policies, would.Exempted = r.would, r.wouldPolicies, ""
			v.Would = append(v.Would, would)
		}
		switch r.finding.Action {
		case v1alpha1.None:
			continue
		case v1alpha1.Deny:
			denied = append(denied, r.finding.line())
			if v.Code != Forbidden && !p.mayPassLater(&r.finding) {
				v.Code = Forbidden
			}
			for _, name := range r.finding.Policies {
				if !named[name] {
					named[name], policies = true, append(policies, name)
				}
			}
		case v1alpha1.Warn, v1alpha1.Hold:
			v.Warnings = append(v.Warnings, r.finding.line())
		case v1alpha1.Audit:
		}
		v.Findings = append(v.Findings, r.finding)
	}
	if v.Held.Holds && len(denied) == 0 {
		v.Warnings = append(v.Warnings, v.Held.warning())
	}
	v.Warnings = FitWarnings(v.Warnings)
	if len(denied) == 0 {
		v.Code = 0
	} else {
		v.Allowed = false
		v.Message = joinLines(denied, maxDenial)
		for i, name := range policies {
			policies[i] += p.doubtOf(name)
		}
		if by := " (TokenPolicy " + strings.Join(policies, ", ") + ")"; len(policies) > 0 && len(v.Message)+len(by) < maxDenial+100 {
			v.Message += by
		}
	}
	return v
}

// doubtOf returns what a refusal adds to the name of a policy.
func (p *Plan) doubtOf(name string) string {
	for i := range p.matching.policies {
		if m := &p.matching.policies[i]; m.policy.Name == name && m.uncertain {
			return "; whether it matches is unknown: " + m.why
		}
	}
	return ""
}

// mayPassLater reports whether a finding is denied only because its namespace has
// spent its rate of look-ups: for the object, or for what tells whether the policies
// match that ask for it.
func (p *Plan) mayPassLater(f *Finding) bool {
	return f.Why == facts.TooManyLookups || !slices.ContainsFunc(p.matching.policies, func(m matched) bool {
		return slices.Contains(f.Policies, m.policy.Name) && m.code() != TooManyRequests
	})
}

// FitWarnings says how many warnings there are beyond those that fit, rather
// than let the API server cut them all.
func FitWarnings(lines []string) []string {
	const last = " more findings; see the audit log"
	total := 0
	for i, l := range lines {
		total += len(l)
		if total > maxWarnings-len(last)-8 {
			return append(slices.Clone(lines[:i]), strconv.Itoa(len(lines)-i)+last)
		}
	}
	return lines
}

// record is a finding as it stands in audit annotations.
type record struct {
	Check    string          `json:"check"`
	Action   v1alpha1.Action `json:"action"`
	State    string          `json:"state"`
	Object   string          `json:"object"`
	Subject  string          `json:"subject,omitempty"`
	Path     string          `json:"path"`
	Policies []string        `json:"policies,omitempty"`
	Exempted string          `json:"exempted,omitempty"`
}

// maxRecords bounds an audit annotation; the audit log is no report.
const maxRecords = 32

// AuditAnnotations returns what goes into the audit log: JSON lists of what was
// found under "findings", of what policies in dry run would have done under
// "would", and of policies that may match under "undecided". The API server adds
// the webhook's name to the keys; a key with a slash would be dropped.
func (v *Verdict) AuditAnnotations() map[string]string {
	if len(v.Findings) == 0 && len(v.Would) == 0 && len(v.Undecided) == 0 {
		return nil
	}
	out := map[string]string{}
	Annotate(out, "findings", records(v.Findings))
	Annotate(out, "would", records(v.Would))
	Annotate(out, "undecided", v.Undecided)
	return out
}

// Annotate adds a list to audit annotations, in JSON; how many there are beyond
// the first 32 stands under KEY-omitted. An empty list is left out.
func Annotate[T any](annotations map[string]string, key string, list []T) {
	if len(list) == 0 {
		return
	}
	if n := len(list) - maxRecords; n > 0 {
		annotations[key+"-omitted"] = strconv.Itoa(n)
		list = list[:maxRecords]
	}
	text, err := json.Marshal(list)
	if err != nil {
		return // strings alone: it can't fail
	}
	annotations[key] = string(text)
}

func records(findings []Finding) []record {
	list := make([]record, len(findings))
	for i := range findings {
		f := &findings[i]
		list[i] = record{
			Check: f.Check, Action: f.Action, State: f.State.String(), Object: f.Object.String(), Subject: f.Subject, Path: f.Path,
			Policies: f.Policies, Exempted: f.Exempted,
		}
	}
	return list
}
