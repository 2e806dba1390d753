package trust

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
)

const (
	// minRefresh is how soon a failed refresh is tried again, and how soon a token
	// with a key id that nobody knows brings the next one.
	minRefresh = time.Second
	// minGap is how far apart refreshes start, whoever asks for them.
	minGap = 100 * time.Millisecond
	// refreshTimeout bounds one refresh.
	refreshTimeout = 5 * time.Second
)

// Follower follows the keys that the API server publishes.
type Follower struct {
	options          Options
	discovery        *discovery
	metrics          *metrics.Metrics
	log              logr.Logger
	now              func() time.Time
	kick             chan struct{} // holds one: a token shows a key that is not known
	trust            atomic.Pointer[Trust]
	onChange         func()
	turn             chan struct{} // holds one: who has it refreshes
	first            chan struct{} // closed once the keys have been looked for
	tried            atomic.Bool
	looks, recordLog failureLog

	mu            sync.Mutex // guards the rest
	history       *history
	current, next *flight
	known         string // what the history says of keys, as one text
}

// flight is a refresh, waiting or under way.
type flight struct {
	started time.Time // zero while it waits
	done    chan struct{}
	err     error // valid once done is closed
}

// New returns a Follower that has looked at nothing yet. config is that of the
// API server.
func New(config *rest.Config, o Options, m *metrics.Metrics, log logr.Logger) (*Follower, error) {
	o.fillIn()
	d, err := newDiscovery(config)
	if err != nil {
		return nil, err
	}
	f := &Follower{
		options: o, discovery: d, metrics: m, log: log, now: time.Now, kick: make(chan struct{}, 1), onChange: func() {},
		turn: make(chan struct{}, 1), first: make(chan struct{}), history: newHistory(&o),
	}
	f.looks.error, f.recordLog.error = log.Error, log.Error
	f.conclude(f.now())
	return f, nil
}

// OnChange calls a function whenever tokens or CAs may be judged otherwise than
// before. It must be set before Run, and return at once.
func (f *Follower) OnChange(call func()) { f.onChange = call }

// Trust returns what is accepted now.
func (f *Follower) Trust() *Trust { return f.trust.Load() }

// Tried reports whether the keys have been looked for, and FirstTry is closed then.
func (f *Follower) Tried() bool { return f.tried.Load() }

// FirstTry is closed once the keys have been looked for, be it in vain.
func (f *Follower) FirstTry() <-chan struct{} { return f.first }

// Kick asks for a refresh soon.
func (f *Follower) Kick() {
	select {
	case f.kick <- struct{}{}:
	default: // one is asked for
	}
}

// Run refreshes until the context ends.
func (f *Follower) Run(ctx context.Context) {
	wait := time.Duration(0)
	backoff := minRefresh
	for {
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		case <-f.kick:
			pause.Stop()
			select { // many tokens may show unknown keys
			case <-ctx.Done():
				return
			case <-time.After(minRefresh):
			}
		}
		err := f.Refresh(ctx, f.now())
		if f.syncRecord(ctx) && ctx.Err() == nil && !f.tried.Swap(true) {
			close(f.first)
		}
		if err != nil || !f.tried.Load() {
			wait = min(backoff, f.options.Refresh)
			backoff = min(2*backoff, f.options.Refresh)
			continue
		}
		wait, backoff = f.options.Refresh, minRefresh
	}
}

// Refresh returns once a refresh has ended that started at the given time or
// later. Whoever asks meanwhile shares it.
func (f *Follower) Refresh(ctx context.Context, since time.Time) error {
	flight := f.join(ctx, since)
	select {
	case <-flight.done:
		return flight.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *Follower) join(ctx context.Context, since time.Time) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.next != nil:
		return f.next
	case f.current != nil && !f.current.started.Before(since):
		return f.current
	}
	f.next = &flight{done: make(chan struct{})}
	// Others may wait for the same refresh: the end of this request must not end it.
	go f.fly(context.WithoutCancel(ctx), f.next)
	return f.next
}

func (f *Follower) fly(ctx context.Context, flight *flight) {
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	f.mu.Lock()
	gap := time.Duration(0)
	if f.current != nil {
		gap = minGap - f.now().Sub(f.current.started)
	}
	f.mu.Unlock()
	time.Sleep(gap)
	f.mu.Lock()
	flight.started = f.now()
	f.current, f.next = flight, nil
	f.mu.Unlock()
	flight.err = f.refresh(ctx)
	close(flight.done)
}

// refresh reads the keys once and takes over what they mean.
func (f *Follower) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	found, err := f.discovery.look(ctx)
	f.mu.Lock()
	now := f.now()
	if err == nil || (len(f.options.Keys) > 0 && apierrors.IsNotFound(err)) {
		// Where keys are given, an API server that publishes none has said all.
		f.history.addKeys(found.keys, found.issuer, now)
	}
	f.history.addChain(found.chain, now)
	changed := f.conclude(now)
	f.mu.Unlock()
	f.looks.failed(err, "The API server's signing keys can't be read; grant system:service-account-issuer-discovery, or give --service-account-key-file")
	if changed {
		f.onChange()
	}
	return err
}

// conclude puts in force what the history means. It reports whether anything is
// judged otherwise than before. Its caller holds the lock.
func (f *Follower) conclude(now time.Time) (changed bool) {
	known := f.history.verdicts(now)
	changed = known != f.known
	f.known = known
	old, next := f.trust.Load(), f.history.trust(&f.options, now)
	if old != nil {
		if old.fingerprint == next.fingerprint {
			return changed
		}
		next.generation = old.generation + 1
	}
	f.trust.Store(next)
	f.metrics.SigningKeys.Set(float64(len(next.keys.Keys())))
	return true
}

// Meet notes that a token in a namespace names a key that is not accepted: from
// now on refreshes that lack it count.
func (f *Follower) Meet(id, namespace string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.history.key(id, f.now()) != facts.Present && f.history.met.meet(id, namespace, f.now()) {
		f.Kick()
	}
}

// Key returns what is known of a key id: Present if a key of that id is accepted,
// Absent if it is gone for certain.
func (f *Follower) Key(id string) facts.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.history.key(id, f.now())
}

// Settled reports whether refreshes have agreed for long enough on what tokens and
// their CAs are verified by. Before that some are unknown that will be known.
func (f *Follower) Settled() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.history.isSettled(f.now())
}

// Settle refreshes until what was published, presented and met by now is settled.
// It is for a program that asks little and ends, and does not call Run. It returns
// the failure of the last refresh, if any, when the context ends.
func (f *Follower) Settle(ctx context.Context) error {
	started := f.now()
	for n := 1; ; n++ {
		err := f.Refresh(ctx, f.now())
		if err == nil && n > leastRefreshes && f.now().Sub(started) > f.options.Settle {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(f.options.Settle / (leastRefreshes + 1)):
		}
	}
}
