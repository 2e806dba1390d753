package sim

import (
	"fmt"
	"hash/fnv"
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
	CPU        time.Duration
	Digest     string // of the trace
	trace      func() string
}

// digest replaces the trace by a short form, by which replays are compared.
func (r *result) digest() {
	h := fnv.New64a()
	_, _ = h.Write([]byte(r.trace()))
	r.Digest = fmt.Sprintf("%016x", h.Sum64())
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
		time.Sleep(w.random.between(time.Microsecond, time.Second))
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
	time.Sleep(10 * time.Second) // reads under way end by their own deadlines
	return w.result()
}

// chaos lets things happen for some time.
func (w *world) chaos() {
	w.waitReady(w.replicas)
	if w.random.chance(70) { // long enough for keys to have settled
		time.Sleep(w.plan.settle + 2*w.plan.refresh)
	}
	all := w.actions()
	begin := time.Now()
	for end := begin.Add(w.plan.chaos); time.Now().Before(end); {
		time.Sleep(w.random.between(time.Millisecond, w.plan.gap))
		if w.plan.mute && w.silence == nil && time.Since(begin) > w.plan.chaos/2 {
			w.mute()
		}
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
	for _, p := range w.pods {
		if p.padding == 0 && p.hasToken() { // tokens are met
			w.askEach(p, w.replicas)
		}
	}
	time.Sleep(w.plan.settle + 4*w.plan.refresh + max(w.plan.staleAfter, time.Minute) + 10*time.Second)
	w.trace("settled")
	w.settled = true
	for _, p := range w.pods {
		answers := w.askEach(p, w.replicas)
		w.compare("replicas-differ", answers)
		for i := range answers {
			w.mustRefuse(&answers[i])
		}
		if answers[0].good && !p.optional() {
			w.mustNotRead(w.askEach(p, w.replicas))
		}
	}
	w.checkGoroutines()
	w.askNewcomer()
}

// askNewcomer adds a replica, which is to answer as the others do.
func (w *world) askNewcomer() {
	fresh, err := w.addReplica()
	if err != nil {
		return
	}
	w.inject(faultReplicaAdded)
	w.replicas = append(w.replicas, fresh)
	for _, p := range w.pods {
		if a := w.ask(p, fresh); a.answered && a.allowed && a.bad != "" {
			w.violate("unready-admitted", "%s on %s, which has just started", p, fresh.name)
		}
	}
	w.waitReady(w.replicas[len(w.replicas)-1:])
	for _, p := range w.pods {
		if p.padding == 0 {
			w.compare("added-replica-differs", w.askEach(p, []*replica{w.replicas[0], fresh}))
		}
	}
}

func (w *world) askEach(p *podCase, replicas []*replica) []outcome {
	out := make([]outcome, len(replicas))
	for i, r := range replicas {
		out[i] = w.ask(p, r)
	}
	return out
}

// compare wants the same answer from all replicas.
func (w *world) compare(invariant string, answers []outcome) {
	first := &answers[0]
	for i := range answers {
		a := &answers[i]
		switch {
		case !a.answered:
			w.violate("not-ready", "%s on %s: not ready", a.pod, a.replica)
			return
		case a.allowed != first.allowed || a.message != first.message:
			if !a.mixed && !first.mixed {
				w.violate(invariant+"-"+classOf(a.pod, difference(first.message, a.message)), "%s: %s says %t %q, %s says %t %q",
					a.pod, first.replica, first.allowed, first.message, a.replica, a.allowed, a.message)
			}
		}
	}
}

// difference is what the longer of two messages has beyond what both begin with,
// from the beginning of a finding on.
func difference(a, b string) string {
	if len(a) < len(b) {
		a, b = b, a
	}
	n := 0
	for n < len(b) && a[n] == b[n] {
		n++
	}
	if start := strings.LastIndex(a[:n], " ("); n > 20 && start >= 0 {
		return a[start:]
	}
	return a
}

// maxReads bounds what one review reads.
const maxReads = 100

// mustRefuse is the second invariant: what is bad is refused once the world is quiet.
func (w *world) mustRefuse(a *outcome) {
	if a.bad != "" && a.allowed {
		w.violate("bad-admitted-"+a.bad, "%s on %s", a.pod, a.replica)
	}
	if a.reads > maxReads {
		w.violate("reads", "%s on %s: %d reads", a.pod, a.replica, a.reads)
	}
}

// strictly marks invariants of seeds whose policy refuses what is unknown.
func (w *world) strictly() string {
	if w.plan.strict {
		return "-strict"
	}
	return ""
}

// mustNotRead: a good pod that was asked for before costs no read.
func (w *world) mustNotRead(answers []outcome) {
	for i := range answers {
		if a := &answers[i]; a.good && a.allowed && a.reads > 0 && a.pod.class != "foreign" && !w.plan.mute {
			w.violate("reads-good"+w.strictly(), "%s on %s: %d reads for a good pod that was asked for before", a.pod, a.replica, a.reads)
		}
	}
}

// maxGoroutines bounds what a replica runs while it has nothing to do.
const maxGoroutines = 60

func (w *world) checkGoroutines() {
	if n := runtime.NumGoroutine() - w.goroutines; n > 20+maxGoroutines*len(w.replicas) {
		w.violate("goroutines", "%d goroutines with %d replicas", n, len(w.replicas))
	}
}

func (w *world) result() *result {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.lines
	return &result{
		Seed: w.seed, Violations: w.violations, Reviews: w.reviews, Requests: w.requests, Verdicts: w.verdicts, Faults: w.injected, Simulated: time.Since(w.began),
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
