// Package robustness tests the webhook where something else fails or is slow: the API
// server, its watches, clients; and what stays in the memory of the process.
package robustness

import (
	"os"
	"testing"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// env is the control plane that the tests of this package share.
var env *harness.Env

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m, &env, harness.Options{}))
}
