package harness

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// handedOut are the ports that tests have: none is given to two.
var handedOut sync.Map

// freePort returns a port below those that the kernel takes for outgoing
// connections, so that nobody takes it before the server that it is for.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1_000 {
		port := 15_000 + rand.IntN(15_000)
		if _, taken := handedOut.LoadOrStore(port, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
