package policysource

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
)

const (
	denying = "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: p}\nspec: {checks: [{name: secret-exists, action: Deny}]}\n"
	warning = "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: p}\nspec: {checks: [{name: secret-exists, action: Warn}]}\n"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// followed is a policy file in a bubble that is followed.
type followed struct {
	*File
	path    string
	log     journal
	metrics *metrics.Metrics
}

func follow(t *testing.T, content string) *followed {
	t.Helper()
	w := &followed{path: filepath.Join(t.TempDir(), "policies.yaml"), metrics: metrics.New()}
	write(t, w.path, content)
	var err error
	if w.File, err = NewFile(w.path, policy.NewCompiler(policy.Checks()), policy.Options{}, w.metrics, w.log.logger()); err != nil {
		t.Fatal(err)
	}
	inBackground(t, w.Start)
	return w
}

func (w *followed) notReady() float64 {
	return testutil.ToFloat64(w.metrics.Policies.WithLabelValues("false"))
}

func TestAChangedFileComesIntoForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := follow(t, warning)
		if denies(w) || !w.Synced() {
			t.Fatal("the file is not in force")
		}
		write(t, w.path, denying)
		later(3 * reloadInterval)
		if !denies(w) || w.log.count("Policies reloaded") != 1 {
			t.Errorf("the new file is not in force, or was loaded more than once: %q", w.log.lines)
		}
		later(time.Minute)
		if w.log.count("Policies reloaded") != 1 {
			t.Error("a file that did not change is loaded again")
		}
	})
}

func TestAFileThatIsBeingWrittenIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := follow(t, denying)
		later(time.Second)
		// Another part comes between any two looks at the file.
		for end := 10; end < len(warning); end += 20 {
			write(t, w.path, warning[:end])
			later(reloadInterval)
		}
		if !denies(w) || w.log.count("can't be used") != 0 || w.notReady() != 0 {
			t.Errorf("a part of the file was read: %q", w.log.lines)
		}
		write(t, w.path, warning)
		later(3 * reloadInterval)
		if denies(w) {
			t.Error("the whole file is not in force")
		}
	})
}

func TestTheLastGoodFileStaysInForce(t *testing.T) {
	tests := []struct {
		name, content, told string
	}{
		{name: "a file that is no YAML", content: "a: [", told: "policies.yaml"},
		{name: "a policy with an unknown check", content: strings.Replace(denying, "secret-exists", "secret-exist", 1), told: "spec.checks[0].name"},
		{name: "a second policy that is broken", content: warning + "---\n" + strings.Replace(warning, "kind: TokenPolicy", "kind: Pod", 1), told: "document 2"},
		{name: "a file without a policy", content: "# nothing\n", told: "has no policy any more"},
		{name: "an empty file", told: "has no policy any more"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := follow(t, denying)
				write(t, w.path, tt.content)
				later(time.Minute)
				if !denies(w) {
					t.Error("the last good version is no longer in force")
				}
				if w.log.count("can't be used", tt.told) != 1 || w.notReady() != 1 {
					t.Errorf("want it told once, with %q: %q; not ready: %v", tt.told, w.log.lines, w.notReady())
				}
				write(t, w.path, warning)
				later(3 * reloadInterval)
				if denies(w) || w.notReady() != 0 {
					t.Error("the mended file is not in force")
				}
				write(t, w.path, tt.content)
				later(time.Minute)
				if w.log.count("can't be used", tt.told) != 2 {
					t.Error("the same mistake is not told a second time")
				}
			})
		})
	}
}

func TestAFileThatIsGoneForAMomentIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := follow(t, denying)
		if err := os.Remove(w.path); err != nil {
			t.Fatal(err)
		}
		later(time.Minute)
		if !denies(w) || w.notReady() != 1 || w.log.count("can't be used") != 1 {
			t.Errorf("not ready: %v; %q", w.notReady(), w.log.lines)
		}
		write(t, w.path, denying)
		later(3 * reloadInterval)
		if !denies(w) || w.notReady() != 0 || w.log.count("Policies reloaded") != 1 {
			t.Errorf("not ready: %v; %q", w.notReady(), w.log.lines)
		}
	})
}

func TestAFileThatIsPutBackAsItWasIsReadyAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := follow(t, denying)
		write(t, w.path, "a: [")
		later(3 * reloadInterval)
		write(t, w.path, denying)
		later(3 * reloadInterval)
		if w.notReady() != 0 || !denies(w) {
			t.Errorf("not ready: %v", w.notReady())
		}
	})
}

func TestExemptionsThatEndAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		w := follow(t, strings.TrimSuffix(denying, "}\n")+", exemptions: [{name: x, reason: x, until: "+until+", objects: [{kind: Secret, name: db}]}]}\n")
		if denies(w) || testutil.ToFloat64(w.metrics.ExemptionsExpired) != 0 {
			t.Error("the exemption has no effect")
		}
		later(time.Hour + time.Minute)
		if !denies(w) || testutil.ToFloat64(w.metrics.ExemptionsExpired) != 1 {
			t.Error("the exemption has not ended, or is not counted")
		}
	})
}

func TestABrokenFileIsRefusedAtStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	compiler := policy.NewCompiler(policy.Checks())
	if _, err := NewFile(path, compiler, policy.Options{}, metrics.New(), logr.Discard()); err == nil || !strings.HasPrefix(err.Error(), "policy file: ") {
		t.Errorf("got %v", err)
	}
	write(t, path, strings.Replace(denying, "action: Deny", "action: Refuse", 1))
	if _, err := NewFile(path, compiler, policy.Options{}, metrics.New(), logr.Discard()); err == nil || !strings.Contains(err.Error(), "p.yaml:4: document 1: spec.checks[0].action") {
		t.Errorf("got %v", err)
	}
}

func TestWithoutAFileTheDefaultsApply(t *testing.T) {
	f, err := NewFile("", policy.NewCompiler(policy.Checks()), policy.Options{}, metrics.New(), logr.Discard())
	if err != nil || f.Start(t.Context()) != nil || !f.Synced() || f.Snapshot().Policies() != 0 || denies(f) {
		t.Errorf("got %+v, %v", f, err)
	}
}

func TestReadTakesANameOnce(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "a.yaml"), filepath.Join(t.TempDir(), "b.yaml")
	write(t, a, denying)
	write(t, b, strings.Replace(denying, "name: p}", "name: q}", 1))
	compiler := policy.NewCompiler(policy.Checks())
	if policies, err := Read([]string{a, b}, compiler); err != nil || len(policies) != 2 {
		t.Errorf("got %d policies, %v", len(policies), err)
	}
	write(t, b, warning)
	if _, err := Read([]string{a, b}, compiler); err == nil || err.Error() != b+`: TokenPolicy "p" is in `+a+", too" {
		t.Errorf("got %v", err)
	}
}
