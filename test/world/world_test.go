// Package world tries check on minimal reproductions of what well-known projects
// ship. Each file says which project and version it stands for, and what is right to
// say of it. It imports packages check, policy, report and workload.
package world

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/check"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/workload"
)

// expectation is what the comments at the head of a file say.
type expectation struct {
	standsFor string
	// warned has "check object", made and likely "object by maker".
	warned, made, likely []string
}

func read(t *testing.T, path string) expectation {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var want expectation
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line, comment := strings.CutPrefix(lines.Text(), "# ")
		if !comment {
			break
		}
		word, rest, _ := strings.Cut(line, ": ")
		switch word {
		case "Stands for":
			want.standsFor = rest
		case "warned":
			want.warned = append(want.warned, rest)
		case "made":
			want.made = append(want.made, rest)
		case "likely":
			want.likely = append(want.likely, rest)
		case "Note":
		default:
			t.Errorf("%s: %q is none of Stands for, warned, made, likely, Note", path, word)
		}
	}
	slices.Sort(want.warned)
	slices.Sort(want.made)
	slices.Sort(want.likely)
	return want
}

func TestInstallManifestsGetTheRightVerdict(t *testing.T) {
	files, err := filepath.Glob("manifests/*.yaml")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d manifests, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			want := read(t, path)
			if strings.Count(want.standsFor, " ") < 1 {
				t.Errorf("the file names no project and version: %q", want.standsFor)
			}
			r, err := check.Run(t.Context(), &check.Options{
				Manifests: check.Input{Paths: []string{path}}, Templates: workload.BuiltinTemplates(), Compiler: policy.NewCompiler(policy.Checks()),
				Now: time.Unix(1, 0), Warn: func(text string) { t.Errorf("warning: %s", text) },
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Errors) > 0 || len(r.Objects) == 0 {
				t.Errorf("%d objects judged, errors %v", len(r.Objects), r.Errors)
			}
			var got expectation
			for i := range r.Results {
				f := &r.Results[i]
				if line := f.Check + " " + f.About.String(); !v1alpha1.Warn.StrongerThan(f.Action) && !slices.Contains(got.warned, line) {
					got.warned = append(got.warned, line)
				}
			}
			for _, p := range r.Provided {
				if line := p.Object.String() + " by " + p.By; p.Likely {
					got.likely = append(got.likely, line)
				} else {
					got.made = append(got.made, line)
				}
			}
			for _, list := range []struct {
				name      string
				got, want []string
			}{{"warned", got.warned, want.warned}, {"made", got.made, want.made}, {"likely", got.likely, want.likely}} {
				slices.Sort(list.got)
				if !slices.Equal(list.got, list.want) {
					t.Errorf("%s:\ngot  %q\nwant %q", list.name, list.got, list.want)
				}
			}
		})
	}
}
