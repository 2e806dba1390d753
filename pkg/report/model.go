package report

import (
	"cmp"
	"slices"
	"strings"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
)

// Report is what was found in the objects that were judged.
type Report struct {
	// Objects that were judged, those without a finding included.
	Objects []Object
	Results []Result
	// Provided are objects that pods need and that something known makes.
	Provided []Provided
}

// Object is a judged object, and where it is written.
type Object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	UID        string `json:"uid,omitempty"`
	// Source is where the object starts in a file; nil for a live one.
	Source *Position `json:"source,omitempty"`
	// Template is the file of a chart that Helm rendered it from, if it says so.
	Template string `json:"template,omitempty"`
}

// String returns the object as it is named to people: "Deployment shop/web".
func (o *Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// Position is a place in a file, counted from 1.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column,omitempty"`
}

// Result is one finding about one object.
type Result struct {
	Check string `json:"check"`
	// Action is in force; empty where only policies in dry run have found it.
	Action v1alpha1.Action `json:"action,omitempty"`
	// State is absent, present (it is there, and wrong) or unknown.
	State   string `json:"state"`
	Message string `json:"message"`
	// Subject is the object that was judged; About what the finding is about,
	// such as "Secret shop/db"; Path the field of the subject at fault.
	Subject Object `json:"subject"`
	About   string `json:"object"`
	Path    string `json:"path"`
	// Source is where the field stands; nil for a live object.
	Source *Position `json:"source,omitempty"`
	// Policies that asked for the action; none where the check's default did.
	Policies []string `json:"policies,omitempty"`
	// Exempted is the reason of the exemption that brought the action down.
	Exempted string `json:"exempted,omitempty"`
	// Would is what policies in dry run would do; empty if none has found it.
	Would         v1alpha1.Action `json:"would,omitempty"`
	WouldPolicies []string        `json:"wouldPolicies,omitempty"`
	// When it bites, such as "now" or "at the next restart"; empty where the
	// object does not run yet.
	When string `json:"when,omitempty"`
	// Notes tell more, a line each.
	Notes []string `json:"notes,omitempty"`
}

// Provided is an object that a pod needs, that nobody has written down, and
// that something known will make.
type Provided struct {
	Object string `json:"object"`
	By     string `json:"by"`
}

// NewResult returns the result for a finding that is in force on an object.
func NewResult(subject Object, f *policy.Finding) Result {
	return Result{
		Check: f.Check, Action: f.Action, State: f.State.String(), Message: f.Message,
		Subject: subject, About: f.Object.String(), Path: f.Path, Policies: f.Policies, Exempted: f.Exempted,
	}
}

// Sort puts the report into the order in which formats write it: that of the
// objects in their files, or by namespace, kind and name; the findings on an
// object stay in the order of the verdict.
func (r *Report) Sort() {
	slices.SortStableFunc(r.Objects, func(a, b Object) int { return a.compare(&b) })
	slices.SortStableFunc(r.Results, func(a, b Result) int { return a.Subject.compare(&b.Subject) })
	slices.SortFunc(r.Provided, func(a, b Provided) int {
		return cmp.Or(strings.Compare(a.Object, b.Object), strings.Compare(a.By, b.By))
	})
	r.Provided = slices.Compact(r.Provided)
}

func (o *Object) compare(other *Object) int {
	var a, b Position
	if o.Source != nil {
		a = *o.Source
	}
	if other.Source != nil {
		b = *other.Source
	}
	return cmp.Or(
		strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
		strings.Compare(o.Namespace, other.Namespace), strings.Compare(o.Kind, other.Kind), strings.Compare(o.Name, other.Name),
		strings.Compare(o.APIVersion, other.APIVersion), strings.Compare(o.UID, other.UID),
	)
}

// AtLeast reports whether there is a finding with the action or a stronger one.
// What policies in dry run would do does not count.
func (r *Report) AtLeast(action v1alpha1.Action) bool {
	return slices.ContainsFunc(r.Results, func(f Result) bool { return f.atLeast(action) })
}

func (f *Result) atLeast(action v1alpha1.Action) bool {
	return f.Action != "" && !action.StrongerThan(f.Action)
}

// summary counts.
type summary struct {
	Objects int `json:"objects"`
	Deny    int `json:"deny"`
	Warn    int `json:"warn"`
	Audit   int `json:"audit"`
	// Unknown of the findings above are for want of knowledge, not for a fault.
	Unknown int `json:"unknown"`
	// DryRun counts what policies in dry run have something to say of.
	DryRun int `json:"dryRun"`
}

// summary returns how many findings there are of each kind.
func (r *Report) summary() summary {
	s := summary{Objects: len(r.Objects)}
	for i := range r.Results {
		f := &r.Results[i]
		if f.Would != "" {
			s.DryRun++
		}
		switch f.Action {
		case v1alpha1.Deny:
			s.Deny++
		case v1alpha1.Warn, v1alpha1.Hold: // Hold acts as Warn
			s.Warn++
		case v1alpha1.Audit:
			s.Audit++
		case v1alpha1.None:
		}
		if f.Action != "" && f.State == facts.Unknown.String() {
			s.Unknown++
		}
	}
	return s
}
