package e2e

import (
	"testing"
)

// D7: what happens in the life of a cluster costs not one pod, though the
// webhook fails closed.
func TestDrills(t *testing.T) {
	g := newDrillGround(t)
	for _, how := range []struct {
		name     string
		register register
	}{{"service", byService}, {"url", byURL}} {
		t.Run("rolling restart, by "+how.name, func(t *testing.T) { drillRollingRestart(t, g, how.register) })
	}
}

func drillRollingRestart(t *testing.T, g *drillGround, how register) {
	d := g.start(t, how)
	for range 4 {
		d.addReplica(t)
		d.balancer.waitReady(t, 3)
		d.retire(t)
		d.stream.more(t, 50)
	}
	d.finish(t)
}
