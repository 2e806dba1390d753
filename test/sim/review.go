package sim

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// review is one review under way, with what was true from its arrival on.
type review struct {
	pod     *podCase
	replica string
	arrived time.Time
	truth   truth // good, bad: for as long as it was under way
}

// outcome is the answer to a review.
type outcome struct {
	truth
	pod      *podCase
	replica  string
	answered bool // with a verdict; not ready otherwise
	allowed  bool
	message  string
	reads    int // of single objects, by the replica meanwhile
}

// observe notes the truth for all reviews under way. It is called after every change.
func (w *world) observe() {
	w.mu.Lock()
	open := make([]*review, 0, len(w.open))
	for r := range w.open {
		open = append(open, r)
	}
	w.mu.Unlock()
	for _, r := range open {
		w.observeOne(r)
	}
}

func (w *world) observeOne(r *review) {
	now := w.judge(r.pod)
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.truth.good = r.truth.good && now.good; now.bad == "" {
		r.truth.bad = ""
	}
	r.truth.mixed = r.truth.mixed || now.mixed
}

// answerTime is how long a review may take: the handlers look things up for two
// seconds at most.
const answerTime = 2100 * time.Millisecond

// ask sends a review to a replica, and holds the first invariant against the answer.
func (w *world) ask(p *podCase, to *replica) outcome {
	r := &review{pod: p, replica: to.name, arrived: time.Now(), truth: w.judge(p)}
	w.mu.Lock()
	w.open[r] = true
	w.reviews++
	before := w.reads[to.name]
	w.mu.Unlock()
	request := httptest.NewRequest(http.MethodPost, "/validate/pods?timeout=10s", bytes.NewReader(p.body()))
	recorder := httptest.NewRecorder()
	to.handler.ServeHTTP(recorder, request)
	w.observeOne(r)
	w.mu.Lock()
	delete(w.open, r)
	out := outcome{truth: r.truth, pod: p, replica: to.name, reads: w.reads[to.name] - before}
	w.mu.Unlock()
	took := time.Since(r.arrived)
	if took > answerTime {
		w.violate("slow-answer", "%s on %s took %s", p, to.name, took)
	}
	switch recorder.Code {
	case http.StatusServiceUnavailable:
		w.trace("review %s on %s: not ready", p, to.name)
		w.mu.Lock()
		w.verdicts["not ready"]++
		w.mu.Unlock()
		return out
	case http.StatusOK:
	default:
		w.violate("no-answer", "%s on %s: %d %s", p, to.name, recorder.Code, recorder.Body)
		return out
	}
	var err error
	out.answered = true
	if out.allowed, out.message, err = readAnswer(recorder.Body.Bytes()); err != nil {
		w.violate("no-answer", "%s on %s: %v", p, to.name, err)
	}
	w.mu.Lock()
	w.verdicts[map[bool]string{true: "allowed", false: "refused"}[out.allowed]]++
	w.mu.Unlock()
	w.trace("review %s on %s: allowed=%t good=%t bad=%q mixed=%t reads=%d took=%s %s",
		p, to.name, out.allowed, out.good, out.bad, out.mixed, out.reads, took, out.message)
	// A strict policy may refuse whatever can't be found out in time.
	// One that asks for too much is refused for it.
	forAsking := p.padding > 0 && (w.plan.strict || strings.Contains(out.message, "too many look-ups") || strings.Contains(out.message, "too many references"))
	if out.good && !out.allowed && !forAsking && (!w.plan.strict || (w.settled && p.class != "foreign")) {
		w.violate("good-refused-"+classOf(p, out.message), "%s on %s: %s", p, to.name, out.message)
	}
	return out
}

// classOf tells what a refusal is about.
func classOf(p *podCase, message string) string {
	switch {
	case p.class == "foreign", p.padding > 0:
		return p.class
	case strings.Contains(message, " more (TokenPolicy"):
		return "cut"
	case strings.Contains(message, "ca.crt that"):
		return badCA
	case strings.Contains(message, "signing key"), strings.Contains(message, "signature"):
		return badKey
	case strings.Contains(message, "token"):
		return badToken
	}
	return badObject
}

// askSoon sends a review in the background.
func (w *world) askSoon(p *podCase, to *replica) {
	w.mu.Lock()
	w.later++ // each at an instant of its own
	wait := time.Duration(noise(w.seed, "ask", w.later) % 100_000)
	w.mu.Unlock()
	w.after(wait, func() { w.ask(p, to) })
}
