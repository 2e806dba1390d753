// Package hold tests that pods wait for what they need, on a real control plane.
package hold

import (
	"os"
	"testing"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// env is the control plane that the tests of this package share.
var env *harness.Env

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m, &env, harness.Options{
		Values: map[string]any{"hold": map[string]any{"enabled": true}},
	}))
}
