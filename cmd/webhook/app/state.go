package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/facts/manifest"
)

// manifestSource answers from manifests: the embedded mode.
type manifestSource struct{ cluster *manifest.Cluster }

// Gather implements admission.Source. Manifests have no races and no delays.
func (s manifestSource) Gather(_ context.Context, _ time.Time, needs func(*facts.Set) []facts.Query) *facts.Set {
	return s.cluster.Gather(needs)
}

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
