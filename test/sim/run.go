package sim

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// result is what came of a seed.
type result struct {
	Seed       uint64
	Violations []violation
	Reviews    int
	Requests   int
	Verdicts   map[string]int
	Faults     map[faultKind]int
	Simulated  time.Duration
	trace      func() string
}

func (w *world) addReplica() (*replica, error) {
	w.added++
	r, err := w.start(fmt.Sprintf("replica-%d", w.added))
	if err != nil {
		w.violate("start", "%v", err)
	}
	return r, err
}

// run plays a seed from its beginning to its end. It must be called in a bubble.
func run(seed uint64) *result {
	w := newWorld(seed)
	w.trace("plan %+v", w.plan)
	for range w.plan.replicas {
		r, err := w.addReplica()
		if err != nil {
			return w.result()
		}
		w.replicas = append(w.replicas, r)
	}
	w.chaos()
	w.quiet()
	for _, r := range w.replicas {
		r.end()
	}
	return w.result()
}

// chaos lets things happen for some time.
func (w *world) chaos() {
	w.waitReady(w.replicas)
	if w.random.chance(70) { // long enough for keys to have settled
		time.Sleep(w.plan.settle + 2*w.plan.refresh)
	}
	all := w.actions()
	for end := time.Now().Add(w.plan.chaos); time.Now().Before(end); {
		time.Sleep(w.random.between(time.Millisecond, w.plan.gap))
		w.act(all)
	}
	w.tasks.Wait()
}

// readyTime is how long a replica may take to become ready when nothing fails: a
// Reflector may sit out its longest pause.
const readyTime = 70 * time.Second

func (w *world) waitReady(replicas []*replica) {
	end := time.Now().Add(readyTime)
	for slices.ContainsFunc(replicas, func(r *replica) bool { return !r.ready() }) {
		if time.Now().After(end) {
			w.violate("not-ready", "a replica is not ready after %s", readyTime)
			return
		}
		time.Sleep(50*time.Millisecond + 17)
	}
}

// quiet lets nothing happen any more, and then holds the other invariants.
func (w *world) quiet() {
	w.clearFaults()
	w.trace("quiet")
	w.waitReady(w.replicas)
	w.askAll(w.replicas) // tokens are met
	time.Sleep(w.plan.settle + 4*w.plan.refresh + max(w.plan.staleAfter, time.Minute) + 10*time.Second)
	w.trace("settled")
	w.askAll(w.replicas)
	for _, p := range w.pods {
		w.compare("replicas-differ", w.askEach(p, w.replicas), true)
	}
	w.checkGoroutines()
	if fresh, err := w.addReplica(); err == nil {
		w.inject(faultReplicaAdded)
		w.replicas = append(w.replicas, fresh)
		w.waitReady(w.replicas[len(w.replicas)-1:])
		for _, p := range w.pods {
			w.compare("added-replica-differs", w.askEach(p, w.replicas), false)
		}
	}
}

func (w *world) askAll(replicas []*replica) {
	for _, p := range w.pods {
		w.askEach(p, replicas)
	}
}

func (w *world) askEach(p *podCase, replicas []*replica) []outcome {
	out := make([]outcome, len(replicas))
	for i, r := range replicas {
		out[i] = w.ask(p, r)
	}
	return out
}

// maxReads bounds what one review reads.
const maxReads = 80

// compare holds what must be true of answers once the world is quiet.
func (w *world) compare(differ string, answers []outcome, strict bool) {
	for i := range answers {
		a := &answers[i]
		if !a.answered {
			w.violate("not-ready", "%s on %s: not ready", a.pod, a.replica)
			return
		}
		if a.bad != "" && a.allowed && strict {
			w.violate("bad-admitted-"+a.bad, "%s on %s", a.pod, a.replica)
		}
		if (a.allowed != answers[0].allowed || a.message != answers[0].message) && !a.mixed {
			w.violate(differ, "%s: %s says %t %q, %s says %t %q", a.pod, answers[0].replica, answers[0].allowed, answers[0].message, a.replica, a.allowed, a.message)
		}
		if a.reads > maxReads {
			w.violate("reads", "%s on %s: %d reads", a.pod, a.replica, a.reads)
		}
		optional := a.pod.padding > 0 || slices.ContainsFunc(a.pod.refs, func(r ref) bool { return r.optional })
		if a.good && a.allowed && a.reads > 0 && !optional && a.pod.class != "foreign" && strict {
			w.violate("reads-good", "%s on %s: %d reads for a good pod that was asked for before", a.pod, a.replica, a.reads)
		}
	}
}

// maxGoroutines bounds what a replica runs while it has nothing to do.
const maxGoroutines = 60

func (w *world) checkGoroutines() {
	if n := runtime.NumGoroutine(); n > 20+maxGoroutines*len(w.replicas) {
		w.violate("goroutines", "%d goroutines with %d replicas", n, len(w.replicas))
	}
}

func (w *world) result() *result {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.lines
	return &result{
		Seed: w.seed, Violations: w.violations, Reviews: w.reviews, Requests: w.requests, Faults: w.injected, Simulated: time.Since(w.began),
		trace: func() string {
			var out strings.Builder
			for i := range lines {
				l := &lines[i]
				fmt.Fprintf(&out, "%12s  %s\n", clock(l.at), fmt.Sprintf(l.format, l.args...))
			}
			return out.String()
		},
	}
}
