// Package harness is what the end-to-end tests share: a control plane with a
// release of the chart, the webhook and kubectl-tokenward as processes, and
// builders for the objects that tests create. Each directory beside it has the
// tests of one theme, which start one control plane. The harness may import
// everything; only those tests import it.
package harness

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/cluster"
)

// Env is a control plane for all tests of a package.
type Env struct {
	Plane *cluster.Cluster
	// Client may do everything.
	Client kubernetes.Interface
	// Standard is the release of the chart with its defaults. The webhook has its
	// rights in all tests that don't install another.
	Standard *Installation
}

// Options change what Run starts.
type Options struct {
	// APIServer has more flags for the API server.
	APIServer map[string]string
	// NoRelease leaves the chart to the tests: there is no Env.Standard.
	NoRelease bool
	// Values of the release beside the defaults.
	Values map[string]any
}

// Run runs the tests of a package in a control plane, which it puts into env
// before the first test. It returns the exit status for TestMain.
func Run(m *testing.M, env **Env, options Options) int {
	logf.SetLogger(logr.Discard())
	flag.Parse()
	if list := flag.Lookup("test.list"); list != nil && list.Value.String() != "" {
		return m.Run()
	}
	e, err := start(options)
	*env = e
	code := 1
	if err == nil {
		code = m.Run()
		err = e.checkRights()
	}
	if e.Plane != nil {
		err = errors.Join(err, e.Plane.Stop())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return code
}

// start returns an Env whose plane must be stopped, also after an error.
func start(options Options) (*Env, error) {
	e := &Env{}
	built := make(chan error, 1)
	go func() {
		_, err := programs()
		built <- err
	}()
	var err error
	e.Plane, err = cluster.StartWith(options.APIServer)
	if err = errors.Join(err, <-built); err != nil {
		return e, err
	}
	if e.Client, err = kubernetes.NewForConfig(e.Plane.Config); err != nil || options.NoRelease {
		return e, err
	}
	e.Standard, err = installRelease(context.Background(), e.Plane, chart.Default().With(options.Values))
	return e, err
}

// checkRights returns an error if the webhook was refused anything.
func (e *Env) checkRights() error {
	if e.Standard == nil {
		return nil
	}
	_, refused, err := e.Requests(e.Standard.Release.User(), 0)
	for _, r := range refused {
		err = errors.Join(err, fmt.Errorf("the chart lacks a right, by what the webhook was refused: %s", r))
	}
	return err
}
