package makers

import (
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/strictyaml"
)

// The apiVersion and kind of a file of makers.
const (
	APIVersion = "tokenward.dev/v1alpha1"
	Kind       = "Makers"
)

// Parse reads rows of a user's file.
func Parse(source string, data []byte) ([]Row, error) {
	docs, err := strictyaml.Split(source, data)
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("%s: the file has no makers", source)
	}
	var rows []Row
	var errs []error
	for i := range docs {
		var file struct {
			metav1.TypeMeta `json:",inline"`
			Makers          []Row `json:"makers"`
		}
		if err := docs[i].Decode(&file); err != nil {
			errs = append(errs, err)
			continue
		}
		if file.APIVersion != APIVersion || file.Kind != Kind {
			errs = append(errs, docs[i].ErrorAt("", fmt.Sprintf("apiVersion must be %s, and kind %s", APIVersion, Kind)))
			continue
		}
		for j := range file.Makers {
			if field, problem := file.Makers[j].problem(); problem != "" {
				errs = append(errs, docs[i].ErrorAt(fmt.Sprintf("makers[%d]%s", j, field), problem))
			}
		}
		rows = append(rows, file.Makers...)
	}
	return rows, errors.Join(errs...)
}

// problem says what is wrong with a row, and in which of its fields.
func (r *Row) problem() (field, problem string) {
	given := 0
	for _, is := range []bool{r.Kind != "", r.Program != nil, r.By != ""} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return "", "give one of kind (with group), program and by: who makes it"
	case r.Kind == "*" && r.Group == "":
		return ".group", `must be given where kind is "*"`
	case r.Program != nil && r.Program.Image == "" && len(r.Program.Words) == 0:
		return ".program", "give image, words, or both"
	case len(r.Makes) == 0:
		return ".makes", "must say what is made"
	}
	for i, m := range r.Makes {
		at := fmt.Sprintf(".makes[%d]", i)
		switch {
		case m.Kind != reference.Secret && m.Kind != reference.ConfigMap:
			return at + ".kind", fmt.Sprintf("%q is neither Secret nor ConfigMap", m.Kind)
		case m.Name == "":
			return at + ".name", "must be given"
		case r.By != "" && m.Namespace == "":
			return at + ".namespace", `must be given: a namespace, or "*" for all`
		case r.By != "" && strings.Contains(m.Name+m.Namespace, "{"):
			return at, "has no braces where there is no object to read"
		case strings.Count(m.Name, "{") != strings.Count(m.Name, "}"):
			return at + ".name", "has a brace without its other"
		}
	}
	return "", ""
}
