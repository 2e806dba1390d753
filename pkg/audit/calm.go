package audit

import "time"

const (
	// restFactor, restShare, leastRest and maxRest keep a namespace that changes
	// all the time from being looked at all the time. It rests restFactor times as
	// long as the look took, and twice as long each time that it changes again at
	// once: up to restShare times as long, but leastRest in any case, so that of one
	// that is soon looked at people see a change within some seconds.
	restFactor = 2
	restShare  = 10
	leastRest  = 2 * time.Second
	maxRest    = 5 * time.Minute
)

// calm is for how long a namespace is left alone, and until when.
type calm struct {
	pause time.Duration
	until time.Time
}

// over reports whether the namespace has been quiet for long enough to forget it.
func (r calm) over(now time.Time) bool { return now.After(r.until.Add(max(r.pause, debounce))) }

// again is the rest after one more change.
func (r calm) again(now time.Time) calm {
	if r.over(now) {
		return calm{}
	}
	return calm{pause: 2 * max(r.pause, debounce/2), until: r.until}
}

// after is the rest that begins when a look has ended.
func (r calm) after(ended time.Time, took time.Duration) calm {
	most := min(max(restShare*took, leastRest), maxRest)
	pause := min(max(r.pause, restFactor*took), most)
	return calm{pause: pause, until: ended.Add(pause)}
}
