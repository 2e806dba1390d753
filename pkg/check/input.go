package check

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/strictyaml"
)

// Stdin is the path that stands for the standard input.
const Stdin = "-"

// Input says where manifests are.
type Input struct {
	// Paths are files, directories, and Stdin.
	Paths []string
	// Kustomizations are directories that are built.
	Kustomizations []string
	// Exclude has patterns of paths that are passed over: see excludes.
	Exclude []string
	// Recursive also takes the files below directories.
	Recursive bool
	Stdin     io.Reader
}

// Empty reports whether nothing is given at all.
func (in *Input) Empty() bool { return len(in.Paths) == 0 && len(in.Kustomizations) == 0 }

// object is one manifest: a document, or an item of a List in one.
type object struct {
	strictyaml.Document
	metav1.TypeMeta
	metadata metav1.ObjectMeta
	// named is false for an item of a typed list, which need not say its kind.
	named bool
	// built is set if a kustomization made it: its lines are nowhere.
	built bool
}

// manifests are what an Input has.
type manifests struct {
	objects []object
	// problems are what could not be read; passed what was no manifest.
	problems []report.Problem
	passed   []report.PassedOver
	warn     func(string)
}

func (m *manifests) problem(err error) {
	if err == nil {
		return
	}
	for _, one := range leaves(err) {
		m.problems = append(m.problems, problemOf(one))
	}
}

// problemOf finds the place in an error that starts with it.
func problemOf(err error) report.Problem {
	var at int
	text := err.Error()
	file, rest, _ := strings.Cut(text, ":")
	if _, scanErr := fmt.Sscanf(rest, "%d:", &at); scanErr == nil {
		_, message, _ := strings.Cut(rest, ": ")
		return report.Problem{Source: &report.Position{File: file, Line: at}, Message: message}
	}
	return report.Problem{Message: text}
}

// leaves takes joined errors apart.
func leaves(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // this error itself is asked, not what it wraps
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, leaves(e)...)
	}
	return all
}

func (m *manifests) pass(what report.PassedOver) {
	m.passed = append(m.passed, what)
	m.warn(what.String())
}

// load reads all objects. What can't be read is a problem beside the others.
func (in *Input) load(warn func(string)) (*manifests, error) {
	exclude, err := newExcludes(in.Exclude)
	if err != nil {
		return nil, err
	}
	m := &manifests{warn: warn}
	w := &walk{manifests: m, exclude: exclude, recursive: in.Recursive, listed: map[string]bool{}}
	for _, path := range in.Paths {
		w.add(path)
	}
	for _, f := range w.kept() {
		m.read(in, f)
	}
	for _, dir := range in.Kustomizations {
		m.build(dir)
	}
	if len(m.objects) == 0 && len(m.problems) == 0 {
		return nil, in.nothing(w)
	}
	return m, nil
}

// nothing is the error for no manifest at all.
func (in *Input) nothing(w *walk) error {
	hint := ""
	if w.directories {
		hint = " (files *.yaml, *.yml, *.json of directories; below them only with -R)"
		if in.Recursive {
			hint = " (files *.yaml, *.yml, *.json of directories)"
		}
	}
	return fmt.Errorf("there are no manifests in %s%s", strings.Join(slices.Concat(in.Paths, in.Kustomizations), ", "), hint)
}

// read reads one file.
func (m *manifests) read(in *Input, f file) {
	name, data, err := f.path, []byte(nil), error(nil)
	if f.path == Stdin {
		name = "stdin"
		data, err = io.ReadAll(in.Stdin)
	} else {
		data, err = readFile(f.path)
	}
	if err != nil {
		m.problem(err)
		return
	}
	docs, err := strictyaml.SplitTolerant(name, data, func(err error) { m.warn(err.Error()) })
	switch {
	case err != nil && isTemplate(data):
		if f.given {
			m.problem(fmt.Errorf("%s: a template: render it first, such as by helm template", name))
		} else {
			m.pass(report.PassedOver{Path: name, What: "a template", Hint: "render it first, such as by helm template"})
		}
		return
	case err != nil:
		m.problem(err)
	}
	for i := range docs {
		m.document(&docs[i], f.given)
	}
}

// maxFile bounds a file: no manifest is as long.
const maxFile = 256 << 20

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.Mode()&(os.ModeSocket|os.ModeDevice) != 0:
		return nil, fmt.Errorf("%s: no file", filepath.ToSlash(path))
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s: has %d bytes, of at most %d", filepath.ToSlash(path), info.Size(), maxFile)
	}
	return os.ReadFile(path)
}

// document takes the objects of one document.
func (m *manifests) document(d *strictyaml.Document, given bool) {
	found, err := expand(d, metav1.TypeMeta{})
	var none *notManifest
	if errors.As(err, &none) && (!given || none.known) {
		line, _ := d.Position("")
		m.pass(report.PassedOver{Path: d.Source, Line: line, What: none.what, Hint: none.hint})
		err = nil
	}
	m.objects = append(m.objects, found...)
	m.problem(err)
}
