package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"tokenward.dev/tokenward/pkg/strictyaml"
)

// Stdin is the path that stands for the standard input.
const Stdin = "-"

// Input says where manifests are.
type Input struct {
	// Paths are files, directories, and Stdin.
	Paths []string
	// Recursive also takes the files below directories.
	Recursive bool
	Stdin     io.Reader
}

// object is one manifest: a document, or an item of a List in one.
type object struct {
	strictyaml.Document
	metav1.TypeMeta
	metadata metav1.ObjectMeta
}

// files returns the files of a path: itself, or those of a directory that look
// like manifests by their names, as kubectl goes by them.
func (in *Input) files(path string) (files []string, given bool, err error) {
	if path == Stdin {
		return []string{path}, true, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, true, err
	}
	if !info.IsDir() {
		return []string{path}, true, nil
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	err = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != path && !in.Recursive:
			return fs.SkipDir
		case !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)):
			files = append(files, name)
		}
		return nil
	})
	return files, false, err
}

// load reads all objects. A file that was named must hold manifests; in a
// directory other files are passed over, with a warning.
func (in *Input) load(warn func(string)) ([]object, error) {
	var objects []object
	var errs []error
	seen, walked := map[string]bool{}, false
	for _, path := range in.Paths {
		files, given, err := in.files(path)
		walked = walked || !given
		errs = append(errs, err)
		for _, file := range files {
			if whole, err := filepath.Abs(file); err == nil && file != Stdin {
				if seen[whole] {
					continue
				}
				seen[whole] = true
			}
			found, err := in.read(file, given, warn)
			objects = append(objects, found...)
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(objects) == 0 {
		hint := ""
		if walked {
			hint = " (files *.yaml, *.yml, *.json of directories; below them only with -R)"
			if in.Recursive {
				hint = " (files *.yaml, *.yml, *.json of directories)"
			}
		}
		return nil, fmt.Errorf("there are no manifests in %s%s", strings.Join(in.Paths, ", "), hint)
	}
	return objects, nil
}

func (in *Input) read(file string, given bool, warn func(string)) ([]object, error) {
	name, data, err := file, []byte(nil), error(nil)
	if file == Stdin {
		name = "stdin"
		data, err = io.ReadAll(in.Stdin)
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	docs, err := strictyaml.Split(name, data)
	if err != nil {
		if bytes.Contains(data, []byte("{{")) {
			err = fmt.Errorf("%w\n  %s seems to be a template: render it first, such as by helm template", err, name)
		}
		return nil, err
	}
	var objects []object
	var errs []error
	for i := range docs {
		found, err := expand(&docs[i], metav1.TypeMeta{})
		if isKustomization(name, found) {
			warn(name + ": a kustomization is not built here: what it makes is not known; use kubectl kustomize DIRECTORY | kubectl tokenward check -f -")
			continue
		}
		if errors.Is(err, errNoManifest) && !given {
			warn(err.Error() + "; passed over")
			continue
		}
		objects = append(objects, found...)
		errs = append(errs, err)
	}
	return objects, errors.Join(errs...)
}

// isKustomization goes by the names that kustomize goes by, and by the kind: the
// file need not say what it is.
func isKustomization(file string, found []object) bool {
	return slices.Contains([]string{"kustomization.yaml", "kustomization.yml"}, filepath.Base(file)) ||
		len(found) == 1 && found[0].GroupVersionKind().GroupKind() == schema.GroupKind{Group: "kustomize.config.k8s.io", Kind: "Kustomization"}
}

// errNoManifest is what a document that is YAML, but no object, is told to be.
var errNoManifest = errors.New("no manifest: apiVersion and kind must be given") //nolint:gochecknoglobals // an error to compare with

// expand returns the object of a document, or those of a List.
func expand(d *strictyaml.Document, otherwise metav1.TypeMeta) ([]object, error) {
	var content struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        metav1.ObjectMeta `json:"metadata"`
		Items           []json.RawMessage `json:"items"`
	}
	content.TypeMeta = otherwise
	var fields map[string]json.RawMessage
	if kjson.UnmarshalCaseSensitivePreserveInts(d.JSON, &fields) != nil {
		return nil, fmt.Errorf("%w%w", d.ErrorAt("", ""), errNoManifest)
	}
	if err := d.Peek(&content); err != nil {
		return nil, err
	}
	if content.APIVersion == "" || content.Kind == "" {
		return nil, fmt.Errorf("%w%w", d.ErrorAt("", ""), errNoManifest)
	}
	if !strings.HasSuffix(content.Kind, "List") || content.Metadata.Name != "" {
		return []object{{Document: *d, TypeMeta: content.TypeMeta, metadata: content.Metadata}}, nil
	}
	item := metav1.TypeMeta{}
	if content.Kind != "List" {
		item = metav1.TypeMeta{APIVersion: content.APIVersion, Kind: strings.TrimSuffix(content.Kind, "List")}
	}
	var objects []object
	var errs []error
	for i, raw := range content.Items {
		part := d.Part(fmt.Sprintf("items[%d]", i), raw)
		found, err := expand(&part, item)
		objects = append(objects, found...)
		errs = append(errs, err)
	}
	return objects, errors.Join(errs...)
}
