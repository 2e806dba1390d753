package upstream

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"

	"tokenward.dev/tokenward/test/cluster"
)

// handler finds plugins as kubectl does, and runs them as a process of its own
// instead of taking the place of this one.
type handler struct {
	cmd.PluginHandler
	t   *testing.T
	out bytes.Buffer
}

func (h *handler) Execute(path string, args, environment []string) error {
	command := exec.CommandContext(h.t.Context(), path, args...)
	command.Env, command.Stdout, command.Stderr = environment, &h.out, &h.out
	return command.Run()
}

// X6: "kubectl tokenward" is found by kubectl's own look-up, and gets its
// arguments whole; kubectl asks kubectl_complete-tokenward for completions.
func TestKubectlFindsThePlugin(t *testing.T) {
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "kubectl-tokenward"), "./cmd/kubectl-tokenward")
	build.Dir = cluster.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script, err := os.ReadFile(filepath.Join(cluster.Root(), "plugin", "kubectl_complete-tokenward"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kubectl_complete-tokenward"), script, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"a command", []string{"kubectl", "tokenward", "version", "-o", "json"}, `"version":`},
		{"a command below another", []string{"kubectl", "tokenward", "token", "inspect", "--help"}, "kubectl tokenward token inspect [TOKEN|-]"},
		{"a check", []string{"kubectl", "tokenward", "explain", "token-valid"}, "What goes wrong"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &handler{PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes), t: t}
			streams, _, _, _ := genericiooptions.NewTestIOStreams()
			cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{PluginHandler: h, Arguments: tt.args, IOStreams: streams})
			if !strings.Contains(h.out.String(), tt.want) {
				t.Errorf("no %q in %s", tt.want, h.out.String())
			}
		})
	}
	t.Run("completion", func(t *testing.T) {
		out, err := exec.CommandContext(t.Context(), "kubectl_complete-tokenward", "explain", "token-v").Output()
		if err != nil || !strings.HasPrefix(string(out), "token-valid\t") {
			t.Errorf("%v: %s", err, out)
		}
	})
}
