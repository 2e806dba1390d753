package sim

import (
	"fmt"
	"slices"
	"time"
)

// faultKind is a way in which an API server, or the network, fails.
type faultKind string

// The kinds of faults of single requests.
const (
	failError    faultKind = "error 500"
	failThrottle faultKind = "429"
	failHang     faultKind = "no answer"
	failReset    faultKind = "connection reset"
	failSlow     faultKind = "slow"
	failDenied   faultKind = "401"
	failProxy    faultKind = "404 of a proxy"
	failGarbage  faultKind = "answer cut short"
	failSilent   faultKind = "silent watch"
)

// Other faults, which are actions.
const (
	faultWatchDrop     faultKind = "watches dropped"
	faultLag           faultKind = "watch lag"
	faultCompaction    faultKind = "compaction (410)"
	faultServerRestart faultKind = "API server restarted"
	faultRestore       faultKind = "etcd restored"
	// versions stand for something else then
	faultRestoreUnbumped faultKind = "etcd restored, not bumped"
	faultReplicaRestart  faultKind = "replica restarted"
	faultReplicaAdded    faultKind = "replica added"
)

func requestFaults() []faultKind {
	return []faultKind{failError, failThrottle, failHang, failReset, failSlow, failDenied, failProxy, failGarbage, failSilent}
}

// fault makes some of the requests fail for some time.
type fault struct {
	kind     faultKind
	until    time.Time
	server   int    // -1: all
	replica  string // empty: all
	resource string // empty: all but discovery
	verb     string // empty: all
	percent  int
}

func (f *fault) String() string {
	return fmt.Sprintf("%s: server=%d replica=%q resource=%q verb=%q %d%% until %s", f.kind, f.server, f.replica, f.resource, f.verb, f.percent, clock(f.until))
}

// hits reports whether a request is one that is to fail.
func (f *fault) hits(replica string, s *server, c *call, now time.Time) bool {
	if now.After(f.until) || (f.server >= 0 && f.server != s.index) || (f.replica != "" && f.replica != replica) {
		return false
	}
	if f.resource == "" && c.resource == discovery || f.resource != "" && f.resource != c.resource {
		return false
	}
	return f.verb == "" || f.verb == c.verb()
}

// addFault begins a fault.
func (w *world) addFault(f *fault) {
	w.mu.Lock()
	w.faults = append(w.faults, f)
	w.mu.Unlock()
	w.trace("fault %s", f)
	w.wakeWatches()
}

// mute silences one watch of one replica for good, as a connection does that has
// died without a word.
func (w *world) mute() {
	w.silence = &fault{
		kind: failSilent, server: -1, replica: pick(w.random, w.replicas).name, verb: "watch", percent: 100,
		resource: pick(w.random, []string{"secrets", "configmaps", "serviceaccounts"}), until: w.began.Add(time.Hour),
	}
	w.addFault(w.silence)
}

// clearFaults ends all of them, but for the silence that stays.
func (w *world) clearFaults() {
	w.mu.Lock()
	w.faults = slices.DeleteFunc(w.faults, func(f *fault) bool { return f != w.silence })
	for _, s := range w.servers {
		s.lag = 0
	}
	w.mu.Unlock()
	w.wakeWatches()
}

// wakeWatches makes all watches look again at what holds them up.
func (w *world) wakeWatches() {
	w.mu.Lock()
	close(w.faultChange)
	w.faultChange = make(chan struct{})
	w.mu.Unlock()
}

func (w *world) faultsChanged() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.faultChange
}

// faultOf returns how a request is to fail, or nothing.
func (w *world) faultOf(replica string, s *server, c *call, n uint64) faultKind {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.faults {
		if f.kind != failSilent && f.hits(replica, s, c, now) && n%100 < uint64(f.percent) {
			w.injected[f.kind]++
			return f.kind
		}
	}
	return ""
}

// silentFor reports whether a watch is to say nothing now.
func (w *world) silentFor(replica string, s *server, c *call) bool {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.faults {
		if f.kind == failSilent && f.hits(replica, s, c, now) {
			w.injected[f.kind]++
			return true
		}
	}
	return false
}

// randomFault makes one up. Policies are always read well: what a replica that
// can't read them does is another matter.
func (w *world) randomFault() *fault {
	r := w.random
	f := &fault{kind: pick(r, requestFaults()), server: -1, percent: pick(r, []int{10, 50, 100})}
	f.until = time.Now().Add(r.between(500*time.Millisecond, 20*time.Second))
	if r.chance(50) {
		f.server = r.IntN(len(w.servers))
	}
	if r.chance(30) {
		f.replica = pick(r, w.replicas).name
	}
	switch {
	case r.chance(25):
		f.resource = discovery
	case r.chance(60):
		f.resource = pick(r, []string{"secrets", "configmaps", "serviceaccounts", "namespaces"})
		f.verb = pick(r, []string{"", "get", "list", "watch"})
	default:
		f.verb = pick(r, []string{"get", "list", "watch"})
	}
	if f.kind == failSilent {
		f.verb, f.percent = "watch", 100
		f.until = time.Now().Add(r.between(5*time.Second, 2*w.plan.staleAfter))
		if f.resource == "" || f.resource == discovery {
			f.resource = pick(r, []string{"secrets", "configmaps", "serviceaccounts"})
		}
	}
	return f
}
