// Package intake bounds what requests to a server can cost it: how many there are
// at a time, how many bytes they hold, for how long each may take to arrive, and
// how many connections there are. What can't be had at once is waited for in
// turn. Whoever must make room is the one who has held most, or for longest.
//
// It imports nothing of ours, so that any server can use it.
package intake

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Limits of a Gate.
type Limits struct {
	// Bytes of all requests together: bodies, and what they are decoded to.
	Bytes int64
	// Reviews under way at a time: those whose body has arrived, and that have a turn.
	Reviews int
}

// Defaults of the limits.
const (
	DefaultBytes   = 96 << 20
	DefaultReviews = 128
)

// MinBytes is the least that Limits.Bytes can be: the largest body, twice, must
// fit into the half that is for large requests.
const MinBytes = 2 * (2*MaxBody + 4<<20)

// MaxBody is the largest body. The largest review that an API server sends has a
// little less than this. The API server takes objects of up to 3 MiB, and stores
// what has at most 1.5 MiB in protobuf, which is etcd's limit. In the JSON of a
// review a byte becomes six at most: "<" is "\u003c". So a creation has up to
// 18 MiB of object, and an update has 9 MiB of object and 9 MiB of old object. The
// rest is for what a review says around them: the user with its groups, and names.
const MaxBody = 20 << 20

// MaxWaiting is how many large bodies may wait for their turn at a time. While they
// do, nobody reads what comes of them.
const MaxWaiting = 4

const (
	// maxVisits bounds the requests that are read, wait, are judged or answered.
	maxVisits = 512
	// maxFields bounds the header fields of a request. An API server sends some ten.
	maxFields = 100
	// smallWeight and mediumWeight are up to where a request is small, or medium.
	smallWeight, mediumWeight = 1 << 20, 8 << 20
	// smallBody is up to where a body is read before it has a turn.
	smallBody = 1 << 20
)

// stage is what a request is at.
type stage int

const (
	reading stage = iota
	waiting
	judging
	answering
)

// Gate lets requests in as far as there is room. Small, medium and large ones have
// shares of their own, so that small ones never wait for large ones.
type Gate struct {
	limits Limits
	// turns are the reviews under way; small and medium the bytes of reviews of that
	// size; large is for one review at a time.
	turns, small, medium, large *semaphore.Weighted

	mu      sync.Mutex
	visits  *list.List // of *Visit, by arrival
	held    int64      // bytes of bodies that have no turn yet
	stalled int        // large bodies that wait for their turn
}

// New returns a Gate.
func New(l Limits) *Gate {
	return &Gate{
		limits: l, visits: list.New(), turns: semaphore.NewWeighted(int64(l.Reviews)),
		small: semaphore.NewWeighted(l.Bytes / 6), medium: semaphore.NewWeighted(l.Bytes / 6), large: semaphore.NewWeighted(1),
	}
}

// MaxWeight is what the heaviest review may weigh.
func (g *Gate) MaxWeight() int64 { return g.limits.Bytes / 2 }

// Visit is a request from its first byte to its answer.
type Visit struct {
	gate    *Gate
	address string // of the client, without its port
	control *http.ResponseController
	until   time.Time // when it must have arrived, and have its turn
	ctx     context.Context
	cancel  context.CancelFunc
	element *list.Element
	release []func()

	// Guarded by the gate's mutex.
	stage stage
	held  int64
	cut   bool // it had to make room
	gone  bool // its handler is about to return
}

// Enter begins a visit. It must have arrived, and have its turn, by a time. Where
// there is no room, a visit ends from the address that has most: the oldest that is not
// being judged.
func (g *Gate) Enter(w http.ResponseWriter, r *http.Request, until time.Time) (*Visit, error) {
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	if fields > maxFields {
		return nil, refusal(TooManyHeaders, "the request has %d header fields, of at most %d", fields, maxFields)
	}
	v := &Visit{gate: g, address: addressOf(r.RemoteAddr), control: http.NewResponseController(w), until: until}
	v.ctx, v.cancel = context.WithDeadline(r.Context(), until)
	// Without a deadline a body that never ends would hold the connection. An error
	// means that the transport has none, as in unit tests.
	_ = v.control.SetReadDeadline(until)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.visits.Len() >= maxVisits && !g.makeRoom(one) {
		v.cancel()
		return nil, refusal(Busy, "there are %d requests at once", maxVisits)
	}
	v.element = g.visits.PushBack(v)
	return v, nil
}

// Leave ends a visit. The handler must call it before it returns.
func (v *Visit) Leave() {
	v.gate.mu.Lock()
	v.gone = true
	v.gate.forget(v)
	v.gate.mu.Unlock()
	v.giveBack()
	v.cancel()
}

func (v *Visit) giveBack() {
	for _, release := range v.release {
		release()
	}
	v.release = nil
}

// Answer is for a review that has been judged: it no longer takes a turn. The client
// has until a time to take the answer.
func (v *Visit) Answer(until time.Time) {
	v.giveBack()
	_ = v.control.SetWriteDeadline(until)
	v.enter(answering)
}

func (v *Visit) enter(s stage) {
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	v.stage = s
}

// forget takes a visit out of the books.
func (g *Gate) forget(v *Visit) {
	if v.element != nil {
		g.visits.Remove(v.element)
		v.element = nil
	}
	g.held -= v.held
	v.held = 0
}

// makeRoom ends a visit that is not being judged, if there is any: of those from the
// address that has most the one that has most, or else the oldest.
func (g *Gate) makeRoom(has func(*Visit) int64) bool {
	sums, most := map[string]int64{}, ""
	for e := g.visits.Front(); e != nil; e = e.Next() {
		if v, ok := e.Value.(*Visit); ok && v.stage != judging {
			if sums[v.address] += has(v); most == "" || sums[v.address] > sums[most] {
				most = v.address
			}
		}
	}
	var victim *Visit
	for e := g.visits.Front(); e != nil; e = e.Next() {
		if v, ok := e.Value.(*Visit); ok && v.stage != judging && v.address == most && (victim == nil || has(v) > has(victim)) {
			victim = v
		}
	}
	if victim == nil {
		return false
	}
	g.forget(victim)
	victim.cut = true
	victim.cancel()
	if !victim.gone { // else the transport may be another request's by now
		past := time.Unix(1, 0)
		_ = victim.control.SetReadDeadline(past)
		if victim.stage == answering {
			_ = victim.control.SetWriteDeadline(past)
		}
	}
	return true
}

// What there may be too much of.
func one(*Visit) int64       { return 1 }
func bytesOf(v *Visit) int64 { return v.held }

func addressOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	return host
}

// hold puts down that the body of a visit has come to need more bytes, and makes
// others leave if there is no room for them.
func (v *Visit) hold(bytes int64) error {
	g := v.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.cut {
		return v.cutOff()
	}
	g.held += bytes - v.held
	v.held = bytes
	for g.held > g.limits.Bytes/6 {
		g.makeRoom(bytesOf)
		if v.cut {
			return v.cutOff()
		}
	}
	return nil
}

func (*Visit) cutOff() error {
	return refusal(Busy, "there are too many requests at once, and this one held much, or for long")
}

// waitForBody waits for the turn of a large body.
func (v *Visit) waitForBody() error {
	g := v.gate
	if g.large.TryAcquire(1) {
		v.release = append(v.release, func() { g.large.Release(1) })
		return nil
	}
	g.mu.Lock()
	g.stalled++
	many := g.stalled > MaxWaiting
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.stalled--
	}()
	if many {
		return refusal(Busy, "there are too many large bodies at once")
	}
	return v.wait(g.large, 1, "a large body")
}

// wait waits for a share of something.
func (v *Visit) wait(of *semaphore.Weighted, n int64, what string) error {
	v.enter(waiting)
	if err := of.Acquire(v.ctx, n); err != nil {
		v.gate.mu.Lock()
		defer v.gate.mu.Unlock()
		if v.cut {
			return v.cutOff()
		}
		return refusal(Busy, "there was no room for %s in time", what)
	}
	v.release = append(v.release, func() { of.Release(n) })
	return nil
}

// Admit waits for the turn of a review that weighs so much, by Weigh. It gives what
// was held for the body to others.
func (v *Visit) Admit(weight int64) error {
	small := len(v.release) == 0 // a large body has its turn already
	if small {
		lane, n, what := v.gate.lane(weight)
		if err := v.wait(lane, n, what); err != nil {
			return err
		}
	}
	if err := v.wait(v.gate.turns, 1, "one more review"); err != nil {
		return err
	}
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	if v.cut {
		return v.cutOff()
	}
	v.stage = judging
	v.gate.held -= v.held
	v.held = 0
	return nil
}

func (g *Gate) lane(weight int64) (lane *semaphore.Weighted, n int64, what string) {
	switch {
	case weight <= smallWeight:
		return g.small, weight, "one more review"
	case weight <= mediumWeight:
		return g.medium, weight, "a review of medium size"
	}
	return g.large, 1, "a large review"
}
