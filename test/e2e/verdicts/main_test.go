// Package verdicts tests what the webhook answers about pods and workloads: by the
// corpus of cases, and by what each action means.
package verdicts

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
