package sim

import (
	"flag"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var (
	mutantsFlag     = flag.Bool("mutants", false, "TestMutants: build and play each mutant")
	mutantSeedsFlag = flag.Int("mutant-seeds", 200, "TestMutants: how many seeds a mutant may survive")
)

// TestMutantsApply keeps the mutants up to date with the sources.
func TestMutantsApply(t *testing.T) {
	mutants, err := readMutants("mutants")
	if err != nil {
		t.Fatal(err)
	}
	for i := range mutants {
		if _, err := mutants[i].overlay(root(t), t.TempDir()); err != nil {
			t.Errorf("%s: %v", mutants[i].name, err)
		}
	}
}

// TestMutants puts each defect back and looks for a seed that catches it: an
// invariant that the mutant names does not hold, where it holds without the mutant.
func TestMutants(t *testing.T) {
	if !*mutantsFlag {
		t.Skip("takes minutes; -mutants runs it")
	}
	mutants, err := readMutants("mutants")
	if err != nil {
		t.Fatal(err)
	}
	sound := map[uint64]*result{}
	for i := range mutants {
		m := &mutants[i]
		t.Run(m.name, func(t *testing.T) {
			program := build(t, m)
			var others []string
			for n := 0; n < *mutantSeedsFlag; n += mutantStep {
				seeds := make([]uint64, 0, mutantStep)
				var missing []uint64
				for i := range mutantStep {
					seed := uint64(n + i + 1)
					if seeds = append(seeds, seed); sound[seed] == nil {
						missing = append(missing, seed)
					}
				}
				for _, r := range playAll(t, self(t), missing) {
					sound[r.Seed] = r
				}
				for _, r := range playAll(t, program, seeds) {
					for _, v := range r.Violations {
						switch {
						case sound[r.Seed].breaks(v.Invariant):
						case slices.Contains(m.caughtBy, strings.TrimSuffix(v.Invariant, unnoticed)):
							t.Logf("%s: caught by seed %d: %s: %s", m.about, r.Seed, v.Invariant, v.Text)
							return
						case !slices.Contains(others, v.Invariant):
							others = append(others, v.Invariant)
						}
					}
				}
			}
			t.Errorf("%s: %d seeds, and none caught it by %v; broken otherwise: %v", m.about, *mutantSeedsFlag, m.caughtBy, others)
		})
	}
}

// mutantStep is how many seeds are played at a time.
const mutantStep = 2 * batch

func (r *result) breaks(invariant string) bool {
	return slices.ContainsFunc(r.Violations, func(v violation) bool { return v.Invariant == invariant })
}

func root(t *testing.T) string {
	path, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// build compiles this test with the mutant in it.
func build(t *testing.T, m *mutant) string {
	t.Helper()
	directory := t.TempDir()
	overlay, err := m.overlay(root(t), directory)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(directory, "sim.test")
	command := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay="+overlay, "-o", program, "./test/sim")
	command.Dir = root(t)
	if text, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s does not compile: %v\n%s", m.name, err, text)
	}
	return program
}
