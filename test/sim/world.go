package sim

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

// The annotations, labels and types of token Secrets.
const (
	tokenSecretType = "kubernetes.io/service-account-token"
	accountNameKey  = "kubernetes.io/service-account.name"
	accountUIDKey   = "kubernetes.io/service-account.uid"
	invalidSinceKey = "kubernetes.io/legacy-token-invalid-since"
)

// plan is what a seed decides before anything happens.
type plan struct {
	servers, replicas  int
	refresh, settle    time.Duration
	staleAfter         time.Duration
	bookmarks          time.Duration
	watchList          bool          // whether API servers stream lists
	chaos              time.Duration // for how long things happen
	gap                time.Duration // between two of them, at most
	faults, rotations  bool
	restores, restarts bool
	strict             bool          // the policy refuses what is unknown
	mute               bool          // one watch stays silent to the end
	lifetime           time.Duration // of bound tokens
}

func newPlan(r *source) plan {
	p := plan{
		servers: 1 + r.IntN(3), replicas: 1 + r.IntN(3), refresh: r.between(2*time.Second, 20*time.Second), staleAfter: r.between(30*time.Second, 120*time.Second),
		watchList: r.chance(60), chaos: r.between(30*time.Second, 120*time.Second), gap: r.between(300*time.Millisecond, 4*time.Second),
		faults: r.chance(60), rotations: r.chance(80), restores: r.chance(30), restarts: r.chance(50),
	}
	p.strict = r.chance(20)
	p.mute = p.faults && r.chance(25)
	p.lifetime = r.between(time.Minute, 20*time.Minute)
	p.settle = p.refresh * time.Duration(3+r.IntN(6))
	p.bookmarks = p.staleAfter * 2 / 5
	return p
}

// world is all that there is in a run.
type world struct {
	seed    uint64
	random  *source // for the driver alone
	plan    plan
	store   *store
	servers []*server
	tasks   sync.WaitGroup // reviews and what happens later

	replicas []*replica
	pods     []*podCase
	began    time.Time
	added    int // replicas so far
	settled  bool

	mu          sync.Mutex
	signer      *signingKey // of the controller manager
	unused      []*signingKey
	rootCA      *authority // that the token controller writes into token Secrets
	unusedCAs   []*authority
	tokens      map[string]*token // by text
	open        map[*review]bool
	faults      []*fault
	silence     *fault // that stays, or nil
	faultChange chan struct{}
	saved       *backup
	readers     map[string]reader
	blind       bool // some reader can't have noticed that etcd was restored
	uids        int

	reviews    int
	later      int            // reviews that were sent in the background
	reads      map[string]int // of single objects, by replica
	requests   int
	goroutines int // that there were before
	verdicts   map[string]int
	injected   map[faultKind]int
	violations []violation
	lines      []line
}

// violation is an invariant that did not hold.
type violation struct {
	Invariant, Text string
}

// line is one of the trace; it is put into words when somebody reads it.
type line struct {
	at     time.Time
	format string
	args   []any
}

// maxLines bounds the trace.
const maxLines = 20000

func namespaces() []string { return []string{"shop", "bank"} }

func newWorld(seed uint64) *world {
	random := newSource(seed)
	w := &world{
		seed: seed, random: random, goroutines: runtime.NumGoroutine(), plan: newPlan(random), store: newStore(), began: time.Now(), tokens: map[string]*token{},
		open: map[*review]bool{}, faultChange: make(chan struct{}), reads: map[string]int{}, readers: map[string]reader{}, injected: map[faultKind]int{}, verdicts: map[string]int{},
	}
	ring := keyRing()
	w.signer = ring["k0"]
	w.unused = []*signingKey{ring["k1"], ring["k2"], ring["k3"], ring["k4"], ring["k5"]}
	kind := ""
	if random.chance(50) {
		kind = "-plain"
	}
	w.rootCA = authorities()["ca0"+kind]
	w.unusedCAs = []*authority{authorities()["ca1"+kind], authorities()["ca2"+kind]}
	for i := range w.plan.servers {
		w.servers = append(w.servers, &server{world: w, index: i, up: true, stopped: make(chan struct{}), keys: []*signingKey{w.signer}, ca: w.rootCA})
	}
	for name, fields := range policies(w.plan.strict) {
		w.store.put(&object{id: id{"tokenpolicies", "", name}, uid: w.newUID(), fields: fields})
	}
	w.store.put(&object{id: id{"configmaps", ownNamespace, "tokenward-signing-keys"}, uid: w.newUID()})
	for _, ns := range namespaces() {
		w.furnish(ns)
		w.pods = append(w.pods, cases(ns)...)
	}
	return w
}

// furnish makes what is in a namespace at first.
func (w *world) furnish(ns string) {
	w.store.put(&object{id: id{"namespaces", "", ns}, uid: w.newUID(), labels: map[string]string{"kubernetes.io/metadata.name": ns}})
	for _, account := range []string{"default", "robot", "ghost"} {
		w.putAccount(ns, account)
	}
	for _, name := range []string{"db", "api", "cert"} {
		w.putOpaque(ns, name)
	}
	for _, name := range []string{"conf", "kube-root-ca.crt"} {
		w.putConfig(ns, name)
	}
	for _, account := range []string{"robot", "ghost"} {
		w.putTokenSecret(ns, account)
		w.fill(ns, account+"-token")
	}
	for _, name := range tokenCopies() {
		w.putCopy(ns, name)
	}
}

func (w *world) newUID() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.uids++
	return fmt.Sprintf("%08x-0c11-4a53-9a8e-2f0f3d0c9a11", w.uids)
}

// after does something later, before the world comes to rest.
func (w *world) after(d time.Duration, do func()) {
	w.tasks.Go(func() {
		time.Sleep(d)
		do()
	})
}

// count notes a request that a server gets.
func (w *world) count(replica string, c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests++
	if c.verb() == "get" && c.namespace != ownNamespace {
		w.reads[replica]++
	}
	w.lines = append(w.lines, line{time.Now(), "%s: %s %s/%s/%s partial=%t", []any{replica, c.verb(), c.resource, c.namespace, c.name, c.partial}})
}

func (w *world) inject(kind faultKind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.injected[kind]++
}

func (w *world) trace(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) < maxLines {
		w.lines = append(w.lines, line{time.Now(), format, args})
	}
}

func (w *world) violate(invariant, format string, args ...any) {
	w.trace("VIOLATION "+invariant+": "+format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.blind {
		invariant += unnoticed
	}
	w.violations = append(w.violations, violation{invariant, fmt.Sprintf(format, args...)})
}

// unnoticed marks invariants that did not hold in a world where a restore of etcd
// could not be noticed.
const unnoticed = "-unnoticed"

// clock is a time as traces tell it: since the bubble's clock began.
func clock(t time.Time) string {
	return t.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Round(100 * time.Microsecond).String()
}
