package app

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
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
