// Package e2e runs the webhook as its own process against a real control plane.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/cluster"
)

// What all tests share: one control plane, and the binaries under test.
var (
	plane  *cluster.Cluster
	client kubernetes.Interface
	binary string
	// standard is the release of the chart with its defaults, whose rights the
	// webhook has in all tests that don't install another.
	standard *installation
	plugin   string // kubectl-tokenward
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	logf.SetLogger(logr.Discard())
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "tokenward-e2e-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary, plugin = filepath.Join(dir, "webhook"), filepath.Join(dir, "kubectl-tokenward")
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./cmd/...")
	build.Dir = cluster.Root()
	if out, err := build.CombinedOutput(); err != nil {
		return fail(fmt.Errorf("%w\n%s", err, out))
	}
	plane, err = cluster.Start()
	defer func() {
		if plane != nil {
			if err := plane.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, "e2e: stop:", err)
			}
		}
	}()
	if err != nil {
		return fail(err)
	}
	if client, err = kubernetes.NewForConfig(plane.Config); err != nil {
		return fail(err)
	}
	if standard, err = install(context.Background(), plane, chart.Default()); err != nil {
		return fail(err)
	}
	code := m.Run()
	_, refused, err := requestsOf(standard.release.User(), 0)
	for _, r := range refused {
		err = errors.Join(err, fmt.Errorf("the chart lacks a right, by what the webhook was refused: %s", r))
	}
	if err != nil {
		return fail(err)
	}
	return code
}
