// Package version says which build this is. It imports nothing of ours.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version replaces the version that Go records in a build. Only the linker sets it:
// -ldflags "-X tokenward.dev/tokenward/pkg/version.version=v1.2.3". Builds from
// sources without their history need it, such as that of the image.
var version string //nolint:gochecknoglobals // the linker can set nothing else

// Info describes a build.
type Info struct {
	// Version is a tag, Go's pseudo-version of a commit, or "devel".
	Version string `json:"version"`
	// Commit that was built, with "-dirty" if files differed from it; empty if Go
	// did not record it.
	Commit    string `json:"commit,omitempty"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
}

// Get describes this build.
func Get() Info {
	build, _ := debug.ReadBuildInfo()
	return info(version, build)
}

func info(linked string, build *debug.BuildInfo) Info {
	i := Info{Version: linked, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if build != nil {
		if i.Version == "" && build.Main.Version != "(devel)" {
			i.Version = build.Main.Version
		}
		dirty := ""
		for _, s := range build.Settings {
			switch {
			case s.Key == "vcs.revision":
				i.Commit = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "-dirty"
			}
		}
		if i.Commit != "" {
			i.Commit += dirty
		}
	}
	i.Version = cmp.Or(i.Version, "devel")
	return i
}

// String is one line for people.
func (i Info) String() string {
	commit := ""
	if i.Commit != "" {
		commit = "commit " + i.Commit + ", "
	}
	return fmt.Sprintf("%s (%s%s, %s)", i.Version, commit, i.GoVersion, i.Platform)
}
