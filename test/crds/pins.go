// Package crds pins the modules whose CustomResourceDefinitions the tests install.
// It is a Go module of its own, so that their dependencies stay out of ours; of
// the modules only the files are read.
package crds

// Named, so that "go mod tidy" keeps the modules.
import (
	_ "github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	_ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
)
