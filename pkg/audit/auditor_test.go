package audit

import (
	"testing"
	"time"

	"github.com/go-logr/logr"

	"tokenward.dev/tokenward/pkg/metrics"
)

func TestAFullPassGoesOnWhileOthersChange(t *testing.T) {
	all := map[string]map[string]string{"a": nil, "b": nil, "c": nil}
	a := NewAuditor(Options{Namespaces: func() map[string]map[string]string { return all }, Metrics: metrics.New(), Log: logr.Discard(), Interval: time.Hour})
	a.cooldowns, a.counts = map[string]cooldown{}, map[string]map[findingLabels]int{}
	now := time.Unix(1000, 0)
	looked := map[string]int{}
	for range 6 {
		a.touch("busy", now)
		looked[a.next(now)]++
		now = now.Add(10 * time.Minute)
	}
	if looked["a"] != 1 || looked["b"] != 1 || looked["c"] != 1 || looked["busy"] < 3 {
		t.Errorf("looked at: %v", looked)
	}
}
