package policy

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheTableOfChecksIsValid(t *testing.T) {
	if err := ValidateChecks(Checks()); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func([]Check){
		"an id with a space":  func(c []Check) { c[0].ID = "secret exists" },
		"an id that is twice": func(c []Check) { c[0].ID = c[1].ID },
		"no remedy":           func(c []Check) { c[0].Remedy = "" },
		"no default":          func(c []Check) { c[0].Default = "" },
		"no function":         func(c []Check) { c[0].Find = nil },
		"no effect":           func(c []Check) { c[0].Effect = 0 },
		"no severity":         func(c []Check) { c[0].Severity = 0 },
		"no category":         func(c []Check) { c[0].Category = 0 },
		"nothing on waiting":  func(c []Check) { c[0].Waiting = 0 },
		"an effect too many":  func(c []Check) { c[0].Effect = BreaksInUse + 1 },
		"healing of nothing":  func(c []Check) { c[0].Effect = BreaksNothing },
	} {
		checks := Checks()
		spoil(checks)
		if ValidateChecks(checks) == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

// The table says all that is said of a check: whoever needs more of it finds a
// field there, or adds one. Then a new check touches its own files alone.
func TestNoOtherPackageNamesACheck(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		switch {
		case d.IsDir() && rel != "." && (strings.HasPrefix(d.Name(), ".") || rel == "bin" || rel == "test" || rel == filepath.Join("pkg", "policy")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		for _, c := range Checks() {
			for _, quote := range []string{`"`, "`"} {
				if strings.Contains(string(text), quote+c.ID+quote) {
					t.Errorf("%s names the check %s; let the table say what it needs of it", rel, c.ID)
				}
			}
		}
		return nil
	})
	if err != nil || seen < 50 {
		t.Errorf("%d files: %v", seen, err)
	}
}

func TestOnlyWhatWaitingHealsMayBeHeld(t *testing.T) {
	for name, tt := range map[string]struct {
		waiting                  Waiting
		heals, secret, tokenOnly bool
	}{
		"the pod is at fault":      {WaitingIsVain, false, false, false},
		"the object is at fault":   {WaitingMayHeal, true, false, false},
		"the pod may be held":      {WaitingMayHold, true, true, true},
		"only for a token Secret":  {WaitingMayHoldTokenSecret, true, false, true},
		"nothing is said about it": {0, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if w := tt.waiting; w.Heals() != tt.heals || w.MayHold(false) != tt.secret || w.MayHold(true) != tt.tokenOnly {
				t.Errorf("heals %t, held %t, held for a token Secret %t", w.Heals(), w.MayHold(false), w.MayHold(true))
			}
		})
	}
}
