package version

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	built := runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")"
	commit := []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "false"}}
	changed := []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: "abc"}}
	tests := []struct {
		name   string
		linked string
		build  *debug.BuildInfo
		want   string
	}{
		{"nothing is known", "", nil, "devel (" + built},
		{"a build of a working tree without history", "", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "devel (" + built},
		{"a build of a tag", "", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: commit}, "v1.2.3 (commit abc, " + built},
		{"a build with changes that are not committed", "", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3+dirty"}, Settings: changed}, "v1.2.3+dirty (commit abc-dirty, " + built},
		{"what the linker says goes before", "v2.0.0", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "v2.0.0 (" + built},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := info(tt.linked, tt.build).String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
