package rewrite

import (
	"encoding/json"
	"slices"
	"strings"

	"tokenward.dev/tokenward/pkg/policy"
)

// The changes, named after the fields of a policy's mutate.
const (
	ChangeAccount   = "serviceAccount"
	ChangeAutomount = "automountServiceAccountToken"
	ChangeVolumes   = "longLivedTokenVolumes"
)

// RecordAnnotation has on the pod what was changed, where a policy wants it.
const RecordAnnotation = "tokenward.dev/changes"

const conflictWith = "conflict with TokenPolicy "

// Change is one change of a pod, as it stands in audit annotations.
type Change struct {
	// Policy that wants it.
	Policy string `json:"policy"`
	// Change is one of ChangeAccount, ChangeAutomount and ChangeVolumes.
	Change string `json:"change"`
	// Path of the field that is changed.
	Path string `json:"path"`
	// From and To are what was and what will be there; empty for nothing.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Left tells why the change was not made; empty if it was.
	Left string `json:"left,omitempty"`

	warning string
	dryRun  bool
}

// Conflict reports whether an earlier policy stood against the change.
func (c *Change) Conflict() bool { return strings.HasPrefix(c.Left, conflictWith) }

// merge adds changes; one of the same field takes the place of the earlier.
func merge(all, more []Change) []Change {
	out := slices.Clone(all)
	places := make(map[string]int, len(out))
	for i := range out {
		places[out[i].Path] = i
	}
	for _, c := range more {
		i, changed := places[c.Path]
		if !changed {
			places[c.Path], out = len(out), append(out, c)
			continue
		}
		c.From = out[i].From
		out[i] = c
	}
	return out
}

// recorded reports whether the pod has a record that the client did not write.
func (p *Plan) recorded() bool {
	_, ok := p.review.Pod.Annotations[RecordAnnotation]
	return ok && p.owned.told() && !p.owned.annotation(RecordAnnotation)
}

// recordOf returns the operation that writes what was changed onto the pod.
func (p *Plan) recordOf(done *outcome, operations []Operation) *Operation {
	if len(operations) == 0 {
		return nil
	}
	annotations := p.review.Pod.Annotations
	var list []Change
	if p.recorded() {
		if json.Unmarshal([]byte(annotations[RecordAnnotation]), &list) != nil {
			list = nil
		}
	}
	before := len(list)
	for _, c := range done.allChanges(p.review.Pod) {
		if done.records[c.Policy] {
			list = append(list, c)
		}
	}
	if len(list) == before {
		return nil
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil // strings alone: it can't fail
	}
	if len(annotations) == 0 {
		return &Operation{Op: "add", Path: "/metadata/annotations", Value: map[string]string{RecordAnnotation: string(text)}}
	}
	return &Operation{Op: "add", Path: "/metadata/annotations/" + strings.ReplaceAll(RecordAnnotation, "/", "~1"), Value: string(text)}
}

// AuditAnnotations returns what goes into the audit log, as JSON lists: under
// "patch" what was changed and what could not be, under "would" the same for
// policies in dry run, and under "undecided" policies that may match. The API
// server takes no second value for a key: what is changed when it invokes the
// webhook once more stands under "patch-reinvoked".
func (r *Result) AuditAnnotations() map[string]string {
	out, suffix := map[string]string{}, ""
	if r.Reinvoked {
		suffix = "-reinvoked"
	}
	policy.Annotate(out, "patch"+suffix, slices.Concat(r.Changes, r.Left))
	policy.Annotate(out, "would"+suffix, r.Would)
	policy.Annotate(out, "undecided"+suffix, r.Undecided)
	if len(out) == 0 {
		return nil
	}
	return out
}
