package check

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"tokenward.dev/tokenward/pkg/report"
)

// file is one to read. It was given by name, or found in a directory.
type file struct {
	path  string
	given bool
}

// walk finds the files of paths.
type walk struct {
	*manifests
	exclude     excludes
	recursive   bool
	directories bool // at least one was given
	files       []file
	// listed are the files that a kustomization is made of, by their whole paths.
	listed map[string]bool
	// kustomizations that were met, with how many files were passed over for each.
	kustomizations []kustomization
}

// add adds a path: a file, or those of a directory that look like manifests by
// their names, as kubectl goes by them.
func (w *walk) add(path string) {
	if path == Stdin {
		w.files = append(w.files, file{path, true})
		return
	}
	info, err := os.Stat(path)
	if err != nil {
		w.problem(err)
		return
	}
	if !info.IsDir() {
		w.keep(file{path, true})
		return
	}
	w.directories = true
	root := path
	if target, err := filepath.EvalSymlinks(path); err == nil {
		root = target
	}
	_ = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		shown := filepath.Join(path, strings.TrimPrefix(name, root))
		switch {
		case err != nil:
			w.problem(err)
			if entry != nil && entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return w.directory(shown, name == root)
		case slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)):
			w.found(shown)
		}
		return nil
	})
}

// directory decides whether a directory is walked.
func (w *walk) directory(dir string, top bool) error {
	switch {
	case !top && (!w.recursive || filepath.Base(dir) == ".git" || w.exclude.match(dir)):
		return fs.SkipDir
	case !top && isChart(filepath.Dir(dir)) && slices.Contains([]string{"templates", "charts", "ci", "tests"}, filepath.Base(dir)):
		return fs.SkipDir
	case isChart(dir):
		w.pass(report.PassedOver{Path: dir, What: "a Helm chart", Hint: "helm template " + dir + " | kubectl tokenward check -f - judges what it makes"})
	}
	if k, ok := readKustomization(dir); ok {
		w.kustomizations = append(w.kustomizations, k)
		for _, f := range k.files {
			w.listed[f] = true
		}
	}
	return nil
}

// found takes a file of a directory, unless its name says that it is no manifest.
// Nobody may write to a pipe that lies there: reading it would wait for ever.
func (w *walk) found(path string) {
	base := filepath.Base(path)
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		if !info.IsDir() {
			w.pass(report.PassedOver{Path: path, What: "no regular file"})
		}
		return
	}
	if isChart(filepath.Dir(path)) && (strings.HasPrefix(base, "Chart.") || strings.HasPrefix(base, "values")) {
		return
	}
	w.keep(file{path, false})
}

func (w *walk) keep(f file) {
	if w.exclude.match(f.path) {
		return
	}
	w.files = append(w.files, f)
}

// kept returns the files to read: each once, and none of a kustomization that a
// directory has.
func (w *walk) kept() []file {
	var kept []file
	seen := map[string]bool{}
	passed := map[string]int{}
	for _, f := range w.files {
		whole, err := filepath.Abs(f.path)
		if err == nil && f.path != Stdin {
			if seen[whole] {
				continue
			}
			seen[whole] = true
			if !f.given && (w.listed[whole] || isKustomizationFile(whole)) {
				passed[whole]++
				continue
			}
		}
		kept = append(kept, f)
	}
	for _, k := range w.kustomizations {
		n := 0
		for _, f := range k.files {
			n += passed[f]
		}
		w.pass(report.PassedOver{Path: k.dir, What: fmt.Sprintf("a kustomization, with %s of it", plural(n, "file")), Hint: "-k " + k.dir + " builds it"})
	}
	return kept
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func isChart(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "Chart.yaml"))
	return err == nil
}

// isTemplate reports whether text that is not YAML is a template of it.
func isTemplate(data []byte) bool {
	return bytes.Contains(data, []byte("{{")) || bytes.Contains(data, []byte("{%")) || bytes.Contains(data, []byte("<%"))
}

// excludes are patterns of paths. A * stands for what has no slash, ** for anything.
// A pattern without a slash stands for the name of a file or a directory wherever it
// is, another one for a path; that of a directory is for all below it.
type excludes []*regexp.Regexp

func newExcludes(patterns []string) (excludes, error) {
	var all excludes
	for _, p := range patterns {
		p = strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(p), "./"), "/")
		if p == "" {
			return nil, fmt.Errorf("--exclude: an empty pattern")
		}
		text := regexp.QuoteMeta(p)
		text = strings.NewReplacer(`\*\*/`, `(.*/)?`, `\*\*`, `.*`, `\*`, `[^/]*`, `\?`, `[^/]`).Replace(text)
		if !strings.Contains(p, "/") {
			text = "(.*/)?" + text
		}
		all = append(all, regexp.MustCompile(`^(.*/)?`+text+`(/.*)?$`))
	}
	return all, nil
}

func (e excludes) match(path string) bool {
	path = strings.TrimPrefix(filepath.ToSlash(path), "./")
	return slices.ContainsFunc(e, func(pattern *regexp.Regexp) bool { return pattern.MatchString(path) })
}
