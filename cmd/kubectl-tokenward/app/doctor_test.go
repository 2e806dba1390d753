package app

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"k8s.io/cli-runtime/pkg/genericclioptions"
)

func TestDoctorSaysWhichWayItFollows(t *testing.T) {
	f := newTokenFixture(t)
	file := writeCase(t, "token", f.bound)
	tests := []struct {
		name   string
		pod    bool
		args   []string
		status int
		want   string
	}{
		{"nothing says where the cluster is", false, nil, exitFailed, "error: this is no pod, and there is no kubeconfig: give --kubeconfig, or --token-file, --ca-file and --server"},
		{"both ways", false, []string{"--token-file", file, "--context", "x"}, exitFailed, "error: --token-file, --ca-file: take the place of a kubeconfig"},
		{"a kubeconfig that is not there", false, []string{"--kubeconfig", "/nonexistent"}, exitFailed, "error: kubeconfig: "},
		{"a time-out that is none", false, []string{"--token-file", file, "--request-timeout", "soon"}, exitFailed, "error: --request-timeout: "},
		{"a pod without a token", true, nil, exitFindings, "FAILED  token file     there is no"},
		{"files without an address", false, []string{"--token-file", file, "--ca-file", filepath.Join(t.TempDir(), "x")}, exitFindings, "FAILED  CA             there is no"},
		{"the root of another container, without a token", true, []string{"--root", filepath.Join(t.TempDir(), "nothing")}, exitFindings, "FAILED  token file     there is no"},
		{"a root and a file", true, []string{"--root", "/proc/7/root", "--token-file", file}, exitFailed, "error: --root: is for the files of a pod"},
		{"an argument", false, []string{"x"}, exitFailed, "error: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST", map[bool]string{true: "192.0.2.1", false: ""}[tt.pod])
			t.Setenv("HOME", t.TempDir())
			r := command(t, "", append([]string{"doctor"}, tt.args...)...)
			if r.status != tt.status || !strings.Contains("\n"+r.out+r.err, "\n"+tt.want) {
				t.Errorf("exit status %d, %s%s", r.status, r.out, r.err)
			}
			for line := range strings.Lines(r.out) {
				if utf8.RuneCountInString(strings.TrimSpace(line)) > width && !strings.Contains(line, "/") {
					t.Errorf("longer than %d: %s", width, line)
				}
			}
		})
	}
}

// In a container that kubectl debug has added, the token is that of the target.
func TestDoctorFindsTheTokenOfTheTargetOfADebugContainer(t *testing.T) {
	tests := []struct{ name, directory string }{
		{"in most images", "var/run/secrets/kubernetes.io/serviceaccount"},
		{"in an image whose /var/run is a link to /run", "run/secrets/kubernetes.io/serviceaccount"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			directory := filepath.Join(root, filepath.FromSlash(tt.directory))
			if err := os.MkdirAll(directory, 0o700); err != nil {
				t.Fatal(err)
			}
			if directory != filepath.Join(root, podFiles) { // the link, which leads nowhere from here
				if err := errors.Join(os.Mkdir(filepath.Join(root, "var"), 0o700), os.Symlink("/nonexistent/run", filepath.Join(root, "var", "run"))); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(directory, "token"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, o := range []*doctorOptions{{other: root}, {other: "/nonexistent", root: root}} {
				o.cluster = genericclioptions.NewConfigFlags(false)
				target, err := o.podTarget("192.0.2.1")
				if err != nil {
					t.Fatal(err)
				}
				if want := filepath.Join(directory, "token"); target.TokenFile != want || !target.InPod {
					t.Errorf("token file %s, want %s", target.TokenFile, want)
				}
				if filepath.Dir(target.CAFile) != directory || filepath.Dir(target.NamespaceFile) != directory {
					t.Errorf("CA file %s, namespace file %s", target.CAFile, target.NamespaceFile)
				}
			}
		})
	}
}
