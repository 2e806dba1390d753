package audit

import (
	"testing"
	"time"
)

// What changes all the time is looked at again and again, at a rate that goes by
// what a look costs.
func TestCooldownOfANamespace(t *testing.T) {
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
			var c cooldown
			for range tt.changes {
				c = c.afterChange(now).afterLook(now.Add(tt.took), tt.took)
				now = c.until
			}
			if c.pause != tt.want {
				t.Errorf("got %s, want %s", c.pause, tt.want)
			}
		})
	}
}
