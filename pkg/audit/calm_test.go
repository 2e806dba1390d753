package audit

import (
	"testing"
	"time"

	"github.com/go-logr/logr"

	"tokenward.dev/tokenward/pkg/metrics"
)

// What changes all the time is looked at again and again, at a rate that goes by
// what a look costs.
func TestHowLongANamespaceRests(t *testing.T) {
	tests := []struct {
		name    string
		took    time.Duration
		changes int
		want    time.Duration
	}{
		{"one change costs a short rest", 50 * time.Millisecond, 1, 100 * time.Millisecond},
		{"the next ones longer ones", 50 * time.Millisecond, 3, 2 * time.Second},
		{"but of what is soon looked at never so long that nobody waits for it", 50 * time.Millisecond, 30, 2 * time.Second},
		{"a look that takes long is made seldom", 2 * time.Second, 30, 20 * time.Second},
		{"and every five minutes all the same", time.Hour, 30, 5 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			var r calm
			for range tt.changes {
				r = r.again(now).after(now.Add(tt.took), tt.took)
				now = r.until
			}
			if r.pause != tt.want {
				t.Errorf("got %s, want %s", r.pause, tt.want)
			}
		})
	}
}

func TestAFullPassGoesOnWhileOthersChange(t *testing.T) {
	all := map[string]map[string]string{"a": nil, "b": nil, "c": nil}
	a := NewAuditor(Options{Namespaces: func() map[string]map[string]string { return all }, Metrics: metrics.New(), Log: logr.Discard(), Interval: time.Hour})
	a.resting, a.counts = map[string]calm{}, map[string]map[finding]int{}
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
