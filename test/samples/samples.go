// Package samples reads the TokenPolicies under test/policies and
// config/samples. What is expected of one stands in its comments: "# KEY: VALUE".
package samples

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Read returns the YAML files of a directory, by name.
func Read(dir string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no samples in %s: %w", dir, err)
	}
	out := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		out[filepath.Base(file)] = string(text)
	}
	return out, nil
}

// Comments returns the values of the comments with a key, in order.
func Comments(text, key string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "# "+key+": "); ok {
			out = append(out, strings.TrimSpace(value))
		}
	}
	return out
}
