// Package process tests the webhook as a process: its start and its end, its flags, the
// files that it reads again, and its metrics.
package process

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
