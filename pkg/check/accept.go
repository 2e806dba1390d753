package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/strictyaml"
	"tokenward.dev/tokenward/pkg/workload"
)

// acceptPrefix is that of annotations by which a manifest accepts the findings of a
// check on it: accept.tokenward.dev/secret-exists: "Terraform makes it". Admission
// knows nothing of them.
const acceptPrefix = "accept.tokenward.dev/"

// accepted returns the reasons by check. The annotations are those of the object or
// of its pod template.
func accepted(ob *object, pod *workload.Pod) map[string]string {
	reasons := map[string]string{}
	for _, annotations := range []map[string]string{pod.Annotations, ob.metadata.Annotations} {
		for name, reason := range annotations {
			if check, ok := strings.CutPrefix(name, acceptPrefix); ok {
				reasons[check] = strings.TrimSpace(reason)
			}
		}
	}
	return reasons
}

// accept marks the results that the object accepts, and warns of what accepts
// nothing.
func (o *Options) accept(ob *object, reasons map[string]string, results []report.Result) {
	for _, check := range slices.Sorted(maps.Keys(reasons)) {
		reason := reasons[check]
		if reason == "" {
			o.Warn(ob.ErrorAt("metadata.annotations", acceptPrefix+check+" has no reason, and accepts nothing").Error())
			continue
		}
		found := false
		for i := range results {
			if results[i].Check == check {
				results[i].Accepted, found = reason, true
			}
		}
		if found {
			continue
		}
		text := "accepts nothing: the check has no finding here"
		if ids := o.checkIDs(); !slices.Contains(ids, check) {
			text = "accepts nothing: there is no such check"
			if near := strictyaml.Nearest(check, ids); near != "" {
				text += fmt.Sprintf("; did you mean %q?", near)
			}
		}
		o.Warn(ob.ErrorAt("metadata.annotations", acceptPrefix+check+" "+text).Error())
	}
}

func (o *Options) checkIDs() []string {
	checks := o.Compiler.Checks()
	ids := make([]string, len(checks))
	for i := range checks {
		ids[i] = checks[i].ID
	}
	return ids
}
