// Package structure tests how the code is laid out: which package may import
// which, that every package says so, and how long files and functions may be.
// It imports nothing of ours; it reads the code with go list and go/parser.
package structure

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The limits. Generated files and test data have none.
const (
	maxFileLines     = 400
	maxFunctionLines = 60  // of its body, in code that is not a test
	maxMedianLines   = 130 // of the files of pkg and cmd that are no tests
)

const module = "tokenward.dev/tokenward/"

// levels returns the packages from the bottom to the top. A package may import
// those of the levels below its own, and none beside it.
func levels() [][]string {
	return [][]string{
		{"pkg/owntoken", "config/crd"},
		{
			"pkg/apis/tokenward/v1alpha1", "pkg/workload", "pkg/reference", "pkg/strictyaml", "pkg/token", "pkg/printable", "pkg/metrics",
			"pkg/servingcert", "pkg/version", "pkg/filewatch", "pkg/logonce", "pkg/intake",
		},
		{"pkg/facts", "pkg/tokentext"},
		{"pkg/source", "pkg/makers", "pkg/usage"},
		{"pkg/facts/manifest", "pkg/trust"},
		{"pkg/cluster"},
		{"pkg/policy", "pkg/inventory"},
		{"pkg/policy/rewrite", "pkg/evaluate", "pkg/listing", "pkg/report"},
		{"pkg/rollup"},
		{"pkg/policysource", "pkg/admission", "pkg/audit", "pkg/hold", "pkg/survey", "pkg/check", "pkg/cases", "pkg/doctor"},
		{"cmd/program"},
		{"cmd/webhook/app", "cmd/kubectl-tokenward/app"},
		{"cmd/webhook", "cmd/kubectl-tokenward"},
	}
}

// listed is what go list tells of a package.
type listed struct {
	ImportPath, Dir string
	Imports         []string
	GoFiles         []string
}

func (p *listed) name() string { return strings.TrimPrefix(p.ImportPath, module) }

func packages(t *testing.T) []listed {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Imports,GoFiles", "./pkg/...", "./cmd/...")
	list.Dir, list.Stderr = root, os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
	if len(all) < 15 {
		t.Fatalf("only %d packages: the search is broken", len(all))
	}
	return all
}

const root = "../.."

func TestImportsRunDownwards(t *testing.T) {
	level := map[string]int{}
	for i, names := range levels() {
		for _, name := range names {
			if _, twice := level[name]; twice {
				t.Errorf("%s is in the table twice", name)
			}
			level[name] = i
		}
	}
	for _, p := range packages(t) {
		own, ok := level[p.name()]
		if !ok {
			t.Errorf("%s is not in the table of levels: say where it belongs", p.name())
			continue
		}
		for _, path := range p.Imports {
			name, ours := strings.CutPrefix(path, module)
			if other, ok := level[name]; ours && (!ok || other >= own) {
				t.Errorf("%s imports %s, which is not below it", p.name(), name)
			}
		}
	}
}

func TestEveryPackageSaysWhatItMayImport(t *testing.T) {
	for _, p := range packages(t) {
		var doc strings.Builder
		for _, file := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			doc.WriteString(parsed.Doc.Text())
		}
		if !strings.Contains(doc.String(), "import") {
			t.Errorf("%s: its doc comment does not say what it may import", p.name())
		}
	}
}

// source is one Go file that people wrote.
type source struct {
	path  string
	lines int
	set   *token.FileSet
	file  *ast.File
}

// isTest reports whether the file is only for tests.
func (s *source) isTest() bool {
	return strings.HasSuffix(s.path, "_test.go") || strings.HasPrefix(s.path, "test/")
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, dir := range []string{"pkg", "cmd", "test"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, name, content, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			if !ast.IsGenerated(file) {
				all = append(all, source{path: filepath.ToSlash(name), lines: bytes.Count(content, []byte("\n")), set: set, file: file})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestFilesAreShort(t *testing.T) {
	var lines []int
	for _, s := range sources(t) {
		if s.lines > maxFileLines {
			t.Errorf("%s has %d lines, of at most %d", s.path, s.lines, maxFileLines)
		}
		if !s.isTest() {
			lines = append(lines, s.lines)
		}
	}
	slices.Sort(lines)
	if median := lines[len(lines)/2]; median >= maxMedianLines {
		t.Errorf("the median of %d files is %d lines, want fewer than %d", len(lines), median, maxMedianLines)
	}
}

func TestFunctionsAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		for at, lines := range functions(&s) {
			if lines > maxFunctionLines {
				t.Errorf("%s: a function of %d lines, of at most %d", at, lines, maxFunctionLines)
			}
		}
	}
}

// functions returns the lines of each function's body, by where it stands.
// Functions within a function count as part of it.
func functions(s *source) map[string]int {
	out := map[string]int{}
	for _, declared := range s.file.Decls {
		if f, ok := declared.(*ast.FuncDecl); ok && f.Body != nil {
			first, last := s.set.Position(f.Body.Lbrace), s.set.Position(f.Body.Rbrace)
			out[fmt.Sprintf("%s:%d: %s", s.path, first.Line, f.Name.Name)] = last.Line - first.Line - 1
		}
	}
	return out
}
