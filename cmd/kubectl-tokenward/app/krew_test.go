package app

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"
)

// krewPlugin has the fields that krew documents, and no others:
// https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/
type krewPlugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string `json:"version"`
		Homepage         string `json:"homepage"`
		ShortDescription string `json:"shortDescription"`
		Description      string `json:"description"`
		Caveats          string `json:"caveats"`
		Platforms        []struct {
			Selector struct {
				MatchLabels map[string]string `json:"matchLabels"`
			} `json:"selector"`
			URI    string `json:"uri"`
			SHA256 string `json:"sha256"`
			Bin    string `json:"bin"`
			Files  []struct {
				From string `json:"from"`
				To   string `json:"to"`
			} `json:"files"`
		} `json:"platforms"`
	} `json:"spec"`
}

func TestKrewManifest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "plugin", "krew", "tokenward.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var p krewPlugin
	if err := yaml.UnmarshalStrict(text, &p); err != nil {
		t.Fatal(err)
	}
	if p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" || p.Metadata.Name != "tokenward" {
		t.Errorf("%s %s %s", p.APIVersion, p.Kind, p.Metadata.Name)
	}
	if _, err := version.ParseSemantic(p.Spec.Version); err != nil || !strings.HasPrefix(p.Spec.Version, "v") {
		t.Errorf("version %s: %v", p.Spec.Version, err)
	}
	if s := p.Spec.ShortDescription; s == "" || len(s) > 60 || strings.HasSuffix(s, ".") || p.Spec.Description == "" || p.Spec.Homepage == "" {
		t.Errorf("descriptions: %+v", p.Spec)
	}
	for line := range strings.Lines(p.Spec.Description + p.Spec.Caveats) {
		fits(t, "krew", line)
	}
	sum := regexp.MustCompile(`^[0-9a-f]{64}$`)
	var seen []string
	for _, platform := range p.Spec.Platforms {
		labels := platform.Selector.MatchLabels
		name := labels["os"] + "-" + labels["arch"]
		if slices.Contains(seen, name) || len(labels) != 2 {
			t.Errorf("platform %v", labels)
		}
		seen = append(seen, name)
		bin := "kubectl-tokenward"
		if labels["os"] == "windows" {
			bin += ".exe"
		}
		if platform.Bin != bin || !sum.MatchString(platform.SHA256) || !strings.HasSuffix(platform.URI, "/"+p.Spec.Version+"/kubectl-tokenward-"+name+".tar.gz") {
			t.Errorf("%s: %+v", name, platform)
		}
		var files []string
		for _, f := range platform.Files {
			files = append(files, f.From)
		}
		if !slices.Equal(files, []string{bin, "LICENSE"}) { // krew installs no plugin without a licence
			t.Errorf("%s: files %q", name, files)
		}
	}
	if len(seen) < 5 {
		t.Errorf("platforms %q", seen)
	}
}
