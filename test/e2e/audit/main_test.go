// Package audit tests the continuous auditor and the reports that it writes.
package audit

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
