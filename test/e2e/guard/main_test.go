// Package guard tests what becomes of Secrets and accounts that are deleted, and that
// nothing is held up.
package guard

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
