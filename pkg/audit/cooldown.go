package audit

import "time"

const (
	// A namespace that changes all the time is not looked at all the time. Its
	// cooldown is cooldownFactor times as long as the look took, and doubles each
	// time that the namespace changes again at once: up to maxCooldownFactor times
	// the look, but at most maxCooldown. It may always grow to leastMaxCooldown, which
	// is short enough for people to see a change within some seconds.
	cooldownFactor    = 2
	maxCooldownFactor = 10
	leastMaxCooldown  = 2 * time.Second
	maxCooldown       = 5 * time.Minute
)

// cooldown is for how long the auditor leaves a namespace alone, and until when.
type cooldown struct {
	pause time.Duration
	until time.Time
}

// over reports whether the namespace has been quiet for long enough to forget it.
func (c cooldown) over(now time.Time) bool { return now.After(c.until.Add(max(c.pause, debounce))) }

// afterChange returns the cooldown after one more change.
func (c cooldown) afterChange(now time.Time) cooldown {
	if c.over(now) {
		return cooldown{}
	}
	return cooldown{pause: 2 * max(c.pause, debounce/2), until: c.until}
}

// afterLook returns the cooldown that begins when a look has ended.
func (c cooldown) afterLook(ended time.Time, took time.Duration) cooldown {
	most := min(max(maxCooldownFactor*took, leastMaxCooldown), maxCooldown)
	pause := min(max(c.pause, cooldownFactor*took), most)
	return cooldown{pause: pause, until: ended.Add(pause)}
}
