// Package hold releases pods that Tokenward holds: it judges them again by the same
// policies as admission when something changes that they may wait for, and takes the
// gate and the label away once nothing is missing, or nobody asks for it any more.
// Only the leader does that.
//
// It may import packages evaluate, policy, source, facts, reference, logonce, metrics, workload
// and apis, and nothing else of ours: facts come through the interfaces of package source.
package hold

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/logonce"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/source"
)

// Options are what a Releaser works with.
type Options struct {
	// Client watches pods, patches them and writes Events.
	Client kubernetes.Interface
	// Policies returns those in force.
	Policies func() *policy.Snapshot
	// Store answers from what is known, Source looks for the rest.
	Store  source.Store
	Source source.Source
	// Only these namespaces are watched; all if empty.
	Only []string
	// Ready reports whether facts and policies have been loaded.
	Ready   func() bool
	Now     func() time.Time
	Metrics *metrics.Metrics
	Log     logr.Logger
}

const (
	// workers judge and release at a time.
	workers = 16
	// tick is how often it is looked whether policies have changed, and for objects
	// that no watch tells of.
	tick = 500 * time.Millisecond
	// resync is how often every pod is judged again, whatever happened.
	resync = time.Minute
	// polled is how many objects that no watch tells of are looked for in a tick.
	polled = 20
	// judgeTimeout bounds the look-ups of one judgement.
	judgeTimeout = 5 * time.Second
)

// Releaser releases held pods for as long as it runs.
type Releaser struct {
	Options
	running atomic.Pointer[run]
}

// NewReleaser returns one that Run starts.
func NewReleaser(o Options) *Releaser { return &Releaser{Options: o} }

// run is one time of leading.
type run struct {
	*Options
	pods     *pods
	answers  *answers
	events   *events
	queue    workqueue.TypedRateLimitingInterface[types.NamespacedName]
	failures *logonce.Failures
	seen     *policy.Snapshot
	next     int // of the objects that are polled
}

// Changed notes that an object has changed; without a name, all of its kind in its
// namespace, or everywhere. It returns at once and may be called at any time.
func (r *Releaser) Changed(o facts.Object) {
	if now := r.running.Load(); now != nil {
		now.changed(o)
	}
}

// Run releases pods until the context ends. Two that run at a time do no harm.
func (r *Releaser) Run(ctx context.Context) error {
	wait := time.NewTicker(tick)
	defer wait.Stop()
	for !r.Ready() {
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
	}
	one := &run{
		Options: &r.Options, answers: newAnswers(r.Store, r.Source, r.Now), failures: logonce.New(r.Log), seen: r.Policies(),
		queue: workqueue.NewTypedRateLimitingQueue(releaseLimiter()),
	}
	one.events = newEvents(one)
	one.pods = newPods(one.due)
	r.running.Store(one)
	defer r.running.Store(nil)
	defer one.countNone()
	var group sync.WaitGroup
	one.watch(ctx, &group)
	for range workers {
		group.Go(func() { one.work(ctx) })
	}
	group.Go(func() { one.events.start(ctx) })
	one.follow(ctx, wait.C)
	one.queue.ShutDown()
	group.Wait()
	return nil
}

// follow has pods judged again for what no watch tells.
func (r *run) follow(ctx context.Context, ticks <-chan time.Time) {
	last := r.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
		now := r.Now()
		again := now.Sub(last) >= resync
		if policies := r.Policies(); policies != r.seen {
			r.seen, again = policies, true
		}
		if again {
			last = now
			r.answers.prune(now)
			for _, key := range r.pods.keys() {
				r.due(key)
			}
		}
		r.poll()
		r.count(now)
	}
}

// due has a pod judged by what is true from now on.
func (r *run) due(key types.NamespacedName) {
	r.pods.trigger(key, r.Now())
	r.queue.Add(key)
}

// changed has the pods judged again that an object may matter to.
func (r *run) changed(o facts.Object) {
	r.answers.forget(o)
	for _, key := range r.pods.dependents(o) {
		r.due(key)
	}
}

// poll looks for objects that pods wait for and no watch tells of, some at a time.
func (r *run) poll() {
	objects := r.pods.unwatched()
	for range min(polled, len(objects)) {
		r.next = (r.next + 1) % len(objects)
		r.changed(objects[r.next])
	}
}

func (r *run) work(ctx context.Context) {
	for {
		key, over := r.queue.Get()
		if over {
			return
		}
		r.step(ctx, key)
		r.queue.Done(key)
	}
}
