package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"tokenward.dev/tokenward/cmd/kubectl-tokenward/app"
	"tokenward.dev/tokenward/pkg/report"
)

// Output is what the command line did.
type Output struct {
	Status   int
	Out, Err string
}

// Tokenward runs the command line with a text for its standard input.
func Tokenward(t *testing.T, stdin string, args ...string) Output {
	t.Helper()
	command := exec.CommandContext(t.Context(), program(t, "kubectl-tokenward"), args...)
	command.Stdin = strings.NewReader(stdin)
	command.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "KUBECONFIG=") }), "HOME="+t.TempDir())
	var out, errOut bytes.Buffer
	command.Stdout, command.Stderr = &out, &errOut
	var exit *exec.ExitError
	if err := command.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return Output{Status: command.ProcessState.ExitCode(), Out: out.String(), Err: errOut.String()}
}

// Audited runs "audit -o json".
func Audited(t *testing.T, kubeconfig string, args ...string) *report.Audit {
	t.Helper()
	var out, errOut bytes.Buffer
	status := app.Main(t.Context(), append([]string{"audit", "--kubeconfig=" + kubeconfig, "-o", "json", "--fail-on=None"}, args...), &out, &errOut)
	if status != 0 {
		t.Fatalf("audit: status %d: %s", status, errOut.String())
	}
	result := &report.Audit{}
	if err := json.Unmarshal(out.Bytes(), result); err != nil {
		t.Fatal(err)
	}
	return result
}

// Findings returns the findings by workload: "check object state", sorted.
func Findings(a *report.Audit) map[string][]string {
	got := map[string][]string{}
	for _, w := range a.Workloads {
		for _, f := range w.Findings {
			got[w.String()] = append(got[w.String()], f.Check+" "+f.Object+" "+f.State)
		}
		slices.Sort(got[w.String()])
	}
	return got
}

// Compare reports every workload whose findings are not as planted.
func Compare(t *testing.T, got, want map[string][]string) {
	t.Helper()
	for _, w := range slices.Sorted(maps.Keys(want)) {
		if !slices.Equal(got[w], want[w]) {
			t.Errorf("%s: got %q, want %q", w, got[w], want[w])
		}
	}
	for _, w := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[w]; !ok {
			t.Errorf("%s: got %q, want nothing", w, got[w])
		}
	}
}
