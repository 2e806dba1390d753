package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mutant is a defect, put back into the sources: what it is, which invariant must
// catch it, and what to replace in which packages.
//
// A file in mutants/ has the name and one line each "about:", "caught by:" (any
// one of these invariants), and then edits:
//
//	package: pkg/inventory
//	<<<<
//	text that is there exactly once, in whatever file
//	====
//	what stands there instead
//	>>>>
type mutant struct {
	name, about string
	caughtBy    []string
	edits       []edit
}

type edit struct{ directory, old, new string }

func readMutants(directory string) ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(directory, "*.txt"))
	if err != nil {
		return nil, err
	}
	all := make([]mutant, 0, len(files))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		m, err := parseMutant(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		m.name = strings.TrimSuffix(filepath.Base(f), ".txt")
		all = append(all, m)
	}
	return all, nil
}

func parseMutant(text string) (mutant, error) {
	var m mutant
	var part *string // of an edit, that lines go to
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		last := len(m.edits) - 1
		switch trimmed := strings.TrimSuffix(line, "\n"); {
		case trimmed == ">>>>":
			part = nil
		case trimmed == "====" && last >= 0:
			part = &m.edits[last].new
		case part != nil:
			*part += line
		case trimmed == "<<<<" && last >= 0:
			part = &m.edits[last].old
		case name == "about":
			m.about = value
		case name == "caught by":
			m.caughtBy = strings.Split(value, ", ")
		case name == "package":
			m.edits = append(m.edits, edit{directory: value})
		case strings.TrimSpace(line) != "":
			return m, fmt.Errorf("what is %q?", line)
		}
	}
	if m.about == "" || len(m.caughtBy) == 0 || len(m.edits) == 0 {
		return m, errors.New("about, caught by and package must be given")
	}
	return m, nil
}

// overlay writes the mutated files and an overlay for the go command into a
// directory. The sources themselves stay as they are.
func (m *mutant) overlay(root, directory string) (string, error) {
	texts := map[string]string{}
	for i := range m.edits {
		if err := m.edits[i].apply(root, texts); err != nil {
			return "", fmt.Errorf("%w; bring mutants/%s.txt up to date", err, m.name)
		}
	}
	replace := map[string]string{}
	for path, text := range texts {
		to := filepath.Join(directory, fmt.Sprint(len(replace), ".go"))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[path] = to
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(directory, "overlay.json")
	return file, os.WriteFile(file, text, 0o600)
}

// apply changes the one file that has the text. texts has those that were changed
// before.
func (e *edit) apply(root string, texts map[string]string) error {
	files, err := filepath.Glob(filepath.Join(root, e.directory, "*.go"))
	if err != nil {
		return err
	}
	found, where := 0, ""
	for _, path := range files {
		text, changed := texts[path]
		if !changed {
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(raw)
		}
		if n := strings.Count(text, e.old); n > 0 && !strings.HasSuffix(path, "_test.go") {
			found, where = found+n, path
			texts[path] = text
		}
	}
	if found != 1 {
		return fmt.Errorf("%s has this %d times, not once:\n%s", e.directory, found, e.old)
	}
	texts[where] = strings.Replace(texts[where], e.old, e.new, 1)
	return nil
}
