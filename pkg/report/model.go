package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/policy"
)

// Report is what was found in the objects that were judged.
type Report struct {
	// Objects that were judged, those without a finding included.
	Objects []Object
	Results []Result
	// Provided are objects that pods need and that something known makes.
	Provided []Provided
	// Files is set where manifests were judged; Manifests counts the objects in them.
	Files     bool
	Manifests int
	// Errors are what could not be read or judged, beside the rest.
	Errors []Problem
	// Unjudged starts pods, and nobody said where its pod template is.
	Unjudged []Unjudged
	// PassedOver is what is no manifest.
	PassedOver []PassedOver
}

// Problem is a file, or a part of one, that could not be read.
type Problem struct {
	Source  *Position `json:"source,omitempty"`
	Message string    `json:"message"`
}

// String returns the problem with its place.
func (p *Problem) String() string {
	if p.Source == nil {
		return p.Message
	}
	return fmt.Sprintf("%s:%d: %s", p.Source.File, p.Source.Line, p.Message)
}

// Unjudged counts the objects of a kind that were not judged.
type Unjudged struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Count      int    `json:"count"`
	// Resource is what --workload-resource would say of the kind; empty where its
	// pods have no template that it could name.
	Resource string `json:"resource,omitempty"`
}

// PassedOver is a file or a directory that was not read as manifests.
type PassedOver struct {
	Path string `json:"path"`
	Line int    `json:"line,omitempty"`
	// What it is, and how to judge it all the same, if there is a way.
	What string `json:"what"`
	Hint string `json:"hint,omitempty"`
}

// String returns it in one line.
func (p *PassedOver) String() string {
	text := p.Path
	if p.Line > 0 {
		text += ":" + strconv.Itoa(p.Line)
	}
	text += ": " + p.What + ": passed over"
	if p.Hint != "" {
		text += "; " + p.Hint
	}
	return text
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
	About   About  `json:"object"`
	Path    string `json:"path"`
	// Source is where the field stands; nil for a live object.
	Source *Position `json:"source,omitempty"`
	// Policies that asked for the action; none where the check's default did.
	Policies []string `json:"policies,omitempty"`
	// Exempted is the reason of the exemption that brought the action down.
	Exempted string `json:"exempted,omitempty"`
	// Accepted is the reason for which the manifest itself accepts the finding.
	Accepted string `json:"accepted,omitempty"`
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
	Object About  `json:"object"`
	By     string `json:"by"`
	// Likely is set where it may as well not be made.
	Likely bool `json:"likely,omitempty"`
}

// About is the object that a finding is about.
type About struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	// SignerName chooses a ClusterTrustBundle without a name.
	SignerName string `json:"signerName,omitempty"`
}

// String returns the object as it is named to people: "Secret shop/db".
func (a About) String() string {
	switch {
	case a.SignerName != "":
		return a.Kind + " of signer " + a.SignerName
	case a.Namespace != "":
		return a.Kind + " " + a.Namespace + "/" + a.Name
	}
	return a.Kind + " " + a.Name
}

// parseAbout reads what String wrote.
func parseAbout(text string) About {
	kind, rest, _ := strings.Cut(text, " ")
	if signer, ok := strings.CutPrefix(rest, "of signer "); ok {
		return About{Kind: kind, SignerName: signer}
	}
	if namespace, name, ok := strings.Cut(rest, "/"); ok {
		return About{Kind: kind, Namespace: namespace, Name: name}
	}
	return About{Kind: kind, Name: rest}
}

// NewResult returns the result for a finding that is in force on an object.
func NewResult(subject Object, f *policy.Finding) Result {
	return Result{
		Check: f.Check, Action: f.Action, State: f.State.String(), Message: f.Message,
		Subject: subject, About: About{string(f.Object.Kind), f.Object.Namespace, f.Object.Name, f.Object.SignerName}, Path: f.Path, Policies: f.Policies, Exempted: f.Exempted,
	}
}

// Sort puts the report into the order in which formats write it: that of the
// objects in their files, or by namespace, kind and name; the findings on an
// object stay in the order of the verdict.
func (r *Report) Sort() {
	slices.SortStableFunc(r.Objects, func(a, b Object) int { return a.compare(&b) })
	slices.SortStableFunc(r.Results, func(a, b Result) int { return a.Subject.compare(&b.Subject) })
	slices.SortFunc(r.Provided, func(a, b Provided) int {
		return cmp.Or(strings.Compare(a.Object.String(), b.Object.String()), strings.Compare(a.By, b.By))
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
	return f.Action != "" && f.Accepted == "" && !action.StrongerThan(f.Action)
}
