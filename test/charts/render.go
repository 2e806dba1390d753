// Package charts renders Helm charts of other projects, as their Go modules ship
// them, with the Helm that the project pins: what people check before it reaches
// their clusters.
package charts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/test/cluster"
)

// Chart is a chart in a directory, or in a module that test/charts/modules pins.
type Chart struct {
	// Module is empty for a chart of ours.
	Module string
	// Path is that of the chart in its module, or from our root.
	Path string
}

// Dir returns the directory of the chart.
func (c Chart) Dir(ctx context.Context) (string, error) {
	if c.Module == "" {
		return filepath.Join(cluster.Root(), c.Path), nil
	}
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", c.Module)
	command.Dir = filepath.Join(cluster.Root(), "test", "charts", "modules")
	out, err := command.Output()
	var module struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &module); jsonErr != nil || module.Dir == "" {
		return "", fmt.Errorf("%s: %w: %s", c.Module, err, module.Error)
	}
	return filepath.Join(module.Dir, c.Path), nil
}

// Render writes what the chart would install into a file of dir, as
// "helm template" writes it. The values are YAML.
func (c Chart) Render(ctx context.Context, dir, release, namespace, values string) (string, error) {
	chart, err := c.Dir(ctx)
	if err != nil {
		return "", err
	}
	if chart, err = withoutMissing(chart, filepath.Join(dir, "chart")); err != nil {
		return "", err
	}
	helm := filepath.Join(cluster.Root(), "bin", "tools", "helm")
	command := exec.CommandContext(ctx, helm, "template", release, chart, "--namespace="+namespace, "--values=-")
	command.Stdin = bytes.NewReader([]byte(values))
	// Neither plugins nor repositories of whoever runs the tests.
	for _, variable := range []string{"HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"} {
		command.Env = append(command.Env, variable+"="+filepath.Join(dir, "helm"))
	}
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("helm template (\"make bin/tools/helm\" builds it): %w: %s", err, stderr.Bytes())
	}
	file := filepath.Join(dir, release+".yaml")
	return file, os.WriteFile(file, out, 0o600)
}

// withoutMissing returns the chart, or a copy of it without the dependencies that
// it does not have beside it. Helm renders no chart that lacks one, even if its
// condition is false, as theirs are; a module ships none from elsewhere.
func withoutMissing(chart, scratch string) (string, error) {
	text, err := os.ReadFile(filepath.Join(chart, "Chart.yaml"))
	if err != nil {
		return "", err
	}
	var meta map[string]any
	if err := yaml.Unmarshal(text, &meta); err != nil {
		return "", err
	}
	all, _ := meta["dependencies"].([]any)
	here := slices.DeleteFunc(slices.Clone(all), func(d any) bool {
		fields, _ := d.(map[string]any)
		name, _ := fields["name"].(string)
		_, err := os.Stat(filepath.Join(chart, "charts", name))
		return err != nil
	})
	if len(here) == len(all) {
		return chart, nil
	}
	meta["dependencies"] = here
	if text, err = yaml.Marshal(meta); err != nil {
		return "", err
	}
	if err := os.CopyFS(scratch, os.DirFS(chart)); err != nil {
		return "", err
	}
	at := filepath.Join(scratch, "Chart.yaml")
	if err := os.Remove(at); err != nil { // it is read-only, as all of a module is
		return "", err
	}
	return scratch, os.WriteFile(at, text, 0o600)
}
