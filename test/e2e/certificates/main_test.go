// Package certificates tests the certificates that the webhook serves with and
// those that it asks for, and drills what may cost a pod while they change.
package certificates

import (
	"fmt"
	"os"
	"testing"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// What the tests of this package share: a control plane, and the network by which
// it reaches Services.
var (
	env     *harness.Env
	network *serviceNetwork
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tokenward-network-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	n, listener, err := newServiceNetwork(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer func() { _ = listener.Close() }()
	network = n
	return harness.Run(m, &env, harness.Options{APIServer: map[string]string{"egress-selector-config-file": n.egress}})
}
