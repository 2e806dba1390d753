package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"tokenward.dev/tokenward/pkg/facts/manifest"
)

// readState reads the manifests in a file, or in the YAML and JSON files below
// a directory.
func readState(path string) (*manifest.Cluster, error) {
	cluster := &manifest.Cluster{}
	var errs []error
	err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if name != path && !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)) {
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		errs = append(errs, cluster.Read(name, data))
		return nil
	})
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, fmt.Errorf("--cluster-state: %w", err)
	}
	return cluster, nil
}
