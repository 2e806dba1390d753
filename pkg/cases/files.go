package cases

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tokenward.dev/tokenward/pkg/strictyaml"
)

// part is a manifest or a policy of a case: written in it, or in a file that it names.
type part struct {
	strictyaml.Document
	// place wraps an error about the part, so that it names the field of the case.
	place func(error) error
}

// parts returns what is written in a field, then what is in the files that the field
// beside it names; and all of it as JSON. A path is relative to the case file.
func (c *Case) parts(d *strictyaml.Document, field string, inline []json.RawMessage, filesField string, files []string) ([]part, []json.RawMessage, error) {
	var all []part
	for i, raw := range inline {
		all = append(all, part{d.Part(fmt.Sprintf("%s[%d]", field, i), raw), func(err error) error { return err }})
	}
	for i, file := range files {
		place := func(err error) error { return d.ErrorAt(fmt.Sprintf("%s[%d]", filesField, i), err.Error()) }
		if file == "" {
			return nil, nil, place(errors.New("is empty: write the path of a file, relative to the case file"))
		}
		path := file
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(d.Source), file)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, place(err)
		}
		docs, err := strictyaml.SplitTolerant(path, data, func(err error) { c.Warnings = append(c.Warnings, err.Error()) })
		if err == nil && len(docs) == 0 {
			err = errors.New(path + " has no manifest")
		}
		if err != nil {
			return nil, nil, place(err)
		}
		for _, doc := range docs {
			all = append(all, part{doc, place})
		}
	}
	raw := make([]json.RawMessage, len(all))
	for i := range all {
		raw[i] = all[i].JSON
	}
	return all, raw, nil
}

// areManifests reports whether all documents are objects of Kubernetes, and none
// is a case: below a directory such a file is there to be named by cases.
func areManifests(docs []strictyaml.Document) bool {
	for i := range docs {
		var fields map[string]json.RawMessage
		if err := docs[i].Peek(&fields); err != nil || fields["apiVersion"] == nil || fields["kind"] == nil || fields["request"] != nil || fields["expect"] != nil {
			return false
		}
	}
	return len(docs) > 0
}
