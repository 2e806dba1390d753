package check

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/strictyaml"
)

// unjudged counts, by kind, what starts pods and was not judged, since nobody said
// where their template is.
func (o *Options) unjudged(objects []object) []report.Unjudged {
	var all []report.Unjudged
	for i := range objects {
		ob := &objects[i]
		if o.Templates.Has(ob.GroupVersionKind()) || !bytes.Contains(ob.JSON, []byte(`"containers":`)) {
			continue
		}
		fields, err := ob.fields()
		if err != nil {
			continue
		}
		path, found := podSpec(fields, "")
		if !found {
			continue
		}
		at := slices.IndexFunc(all, func(u report.Unjudged) bool { return u.APIVersion == ob.APIVersion && u.Kind == ob.Kind })
		if at < 0 {
			plural, _ := meta.UnsafeGuessKindToResource(ob.GroupVersionKind())
			u := report.Unjudged{APIVersion: ob.APIVersion, Kind: ob.Kind}
			if template, ok := strings.CutSuffix(path, ".spec"); ok && plural.Group != "" {
				u.Resource = fmt.Sprintf("%s/%s/%s=%s", plural.Group, plural.Version, plural.Resource, template)
			}
			all, at = append(all, u), len(all)
		}
		all[at].Count++
	}
	slices.SortFunc(all, func(a, b report.Unjudged) int { return strings.Compare(a.Kind+a.APIVersion, b.Kind+b.APIVersion) })
	return all
}

// podSpec finds the fields of a pod, by its list of containers with images.
func podSpec(fields map[string]any, path string) (string, bool) {
	if list, ok := fields["containers"].([]any); ok && path != "" {
		if slices.ContainsFunc(list, isContainer) {
			return path, true
		}
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if inner, ok := fields[name].(map[string]any); ok && name != "status" && name != "metadata" {
			if found, ok := podSpec(inner, strings.TrimPrefix(path+"."+name, ".")); ok {
				return found, true
			}
		}
	}
	return "", false
}

func isContainer(value any) bool {
	c, ok := value.(map[string]any)
	if !ok {
		return false
	}
	image, ok := c["image"].(string)
	return ok && image != ""
}

// unmatched is the error for a resource with a pod template that a user added, of
// which the manifests have none.
func (o *Options) unmatched(objects []object) error {
	var errs []error
	for _, resource := range o.Templates.Resources() {
		matched := false
		var others []string
		for i := range objects {
			plural, _ := meta.UnsafeGuessKindToResource(objects[i].GroupVersionKind())
			matched = matched || plural == resource
			if name := plural.Group + "/" + plural.Version + "/" + plural.Resource; plural.Group == resource.Group && plural.Group != "" && !slices.Contains(others, name) {
				others = append(others, name)
			}
		}
		if matched {
			continue
		}
		name := resource.Group + "/" + resource.Version + "/" + resource.Resource
		text := "the manifests have none of these"
		if near := strictyaml.Nearest(name, others); near != "" {
			text += fmt.Sprintf("; did you mean %q?", near)
		}
		errs = append(errs, fmt.Errorf("--workload-resource: %s: %s", name, text))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}
