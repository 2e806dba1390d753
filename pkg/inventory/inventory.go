// Package inventory answers queries about a live cluster. An index of Secrets,
// fed by a metadata-only watch, answers when all is well without any call to
// the API server; whatever it does not have is read live before anybody is told
// that it is absent. Indexes of ConfigMaps, ServiceAccounts and Namespaces do the
// same for those. A second watch brings token Secrets, whose tokens are verified
// by the keys that the API server publishes, and dropped.
//
// It imports packages facts, reference, token and metrics, never policy: it knows
// what the cluster holds, not what anybody makes of it.
package inventory

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/reference"
)

const (
	// maxReads bounds the live reads of one review, parallelReads how many of
	// them run at a time.
	maxReads      = 64
	parallelReads = 8
)

const namespaceKind = facts.Namespace

// Options tune an inventory. The zero value watches all namespaces.
type Options struct {
	// Namespaces to watch; all if empty.
	Namespaces []string
	// StaleAfter is how long a watch may be silent before the index no longer
	// answers without a read. API servers send a bookmark every minute.
	StaleAfter time.Duration
	// Signing says by which keys tokens are verified.
	Signing SigningOptions
	// Changed is called when something that judgements in a namespace may rest
	// on has changed: a Secret, an account, a ConfigMap (that came or went), the
	// Namespace itself, or the keys that its tokens are verified by. It must
	// return at once. It may be nil.
	Changed func(namespace string)
}

// defaultStaleAfter allows two bookmarks to be late.
const defaultStaleAfter = 150 * time.Second

// Inventory answers queries from an index and by live reads.
type Inventory struct {
	watched    map[reference.Kind]*watched
	insides    *insideCache
	signing    *signing
	tokens     *tokenWatch
	reader     *reader
	leisure    *leisure
	staleAfter time.Duration
	metrics    *metrics.Metrics
}

// New returns an inventory that reads from the API server of config. Start
// must run for it to become synced.
func New(config *rest.Config, o Options, m *metrics.Metrics, log logr.Logger) (*Inventory, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // a budget of our own takes the place of the client's limiter
	signing, err := newSigning(config, o.Signing, m, log.WithName("keys"))
	if err != nil {
		return nil, err
	}
	reader, err := newReader(config, signing, m, log)
	if err != nil {
		return nil, err
	}
	client, err := metadata.NewForConfig(metadata.ConfigFor(config))
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	v := &Inventory{
		watched: map[reference.Kind]*watched{}, insides: newInsideCache(), signing: signing, reader: reader, staleAfter: o.StaleAfter, metrics: m,
	}
	if v.staleAfter == 0 {
		v.staleAfter = defaultStaleAfter
	}
	if o.Changed == nil {
		o.Changed = func(string) {}
	}
	for kind, resource := range watchedKinds() {
		w := newWatched(kind, resource, o.Namespaces, listers{metadata: client, dynamic: reader.clients.dynamic}, m, log.WithName("watch"))
		w.index.onReplace = func(namespaces []string) {
			for _, ns := range namespaces {
				o.Changed(ns)
			}
		}
		w.index.onChange = func(namespace, name string, isNew bool, now *entry) {
			if object := (facts.Object{Kind: kind, Namespace: namespace, Name: name}); now == nil {
				v.insides.forget(object)
			} else {
				v.insides.outdate(object, *now)
			}
			switch {
			case kind == namespaceKind:
				o.Changed(name)
			case kind != reference.ConfigMap || isNew || now == nil: // leader election writes ConfigMaps all the time
				o.Changed(namespace)
			}
		}
		v.watched[kind] = w
	}
	v.tokens = newTokenWatch(v, reader.clients.core, o.Namespaces, log.WithName("tokens"))
	signing.onChange = func() {
		note(v.tokens.verify)
		for _, ns := range v.insides.withTokens() {
			o.Changed(ns)
		}
	}
	reader.onWhole = v.keep
	if v.leisure, err = newLeisure(config, v, m, log); err != nil {
		return nil, err
	}
	return v, nil
}

// note leaves word that there is something to do; one note is enough.
func note(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// Start feeds the index until the context ends.
func (v *Inventory) Start(ctx context.Context) error {
	var group sync.WaitGroup
	for _, w := range v.watched {
		for _, r := range w.reflectors {
			group.Go(func() { r.RunWithContext(ctx) })
		}
	}
	group.Go(func() { v.tokens.run(ctx) })
	group.Go(func() { v.signing.run(ctx) })
	group.Go(func() { v.watchAges(ctx) })
	group.Wait()
	return nil
}

// watchAges keeps the metric of how long ago each watch was heard of.
func (v *Inventory) watchAges(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for kind, w := range v.watched {
				if w.synced() {
					v.metrics.InventoryStale.WithLabelValues(string(kind)).Set(w.age(now).Seconds())
				}
			}
		}
	}
}

// Synced reports whether the index is complete. Before that nothing may be judged.
func (v *Inventory) Synced() bool {
	for _, w := range v.watched {
		if !w.synced() {
			return false
		}
	}
	// Whether the keys could be read or not: without them tokens are unknown.
	return v.tokens.synced() && v.signing.tried.Load()
}

// Gather answers what a review needs, for a request that arrived at the given
// time. It returns before the context's deadline; what could not be found out
// by then is unknown.
func (v *Inventory) Gather(ctx context.Context, arrived time.Time, needs func(*facts.Set) []facts.Query) *facts.Set {
	reads := maxReads
	return facts.Collect(needs, func(queries []facts.Query, set *facts.Set) {
		live := make([]facts.Query, 0, len(queries))
		for _, q := range queries {
			if f, ok := v.indexed(&q, arrived); ok {
				set.Put(q.Object, f)
			} else {
				live = append(live, q)
			}
		}
		for len(live) > reads {
			last := len(live) - 1
			set.Put(live[last].Object, v.atLeast(&live[last], facts.Fact{Why: facts.Throttled}, arrived))
			live = live[:last]
		}
		reads -= len(live)
		v.read(ctx, arrived, live, set)
	})
}

// indexed answers from memory. Only "present" is answered so: that something is
// absent, object or key, is always confirmed live; and what an object holds only
// to those who did not ask for a fresh answer.
func (v *Inventory) indexed(q *facts.Query, now time.Time) (facts.Fact, bool) {
	if q.Kind == facts.TokenSecretsOf {
		return facts.Fact{State: facts.Present, Names: v.tokenSecretsOf(q), Fresh: true}, true
	}
	w := v.watched[q.Kind]
	if w == nil || q.Fresh || w.age(now) > v.staleAfter {
		return facts.Fact{}, false
	}
	e, ok := w.index.get(q.Namespace, q.Name)
	if !ok {
		return facts.Fact{}, false
	}
	f := facts.Fact{State: facts.Present}
	switch {
	case q.Kind == namespaceKind:
		whole := w.index.wholeOf(q.Name)
		if whole == nil {
			return facts.Fact{}, false
		}
		f.Labels, f.Whole = whole.labels, whole.fields
		return f, true
	case len(q.Keys) == 0 && !q.Inside:
		return f, true
	}
	return v.insideFact(q, e)
}

// insideFact answers from what was read of an object in the version that the
// index knows.
func (v *Inventory) insideFact(q *facts.Query, e entry) (facts.Fact, bool) {
	i, ok := v.insides.get(q.Object, e)
	if !ok || (q.Inside && (e.deleting || !i.checkedWith(v.signing.Trust()))) {
		return facts.Fact{}, false
	}
	f := facts.Fact{State: facts.Present}
	if q.Inside {
		f.Inside, f.UID, f.Secret, f.Account = true, i.uidText, i.secret, i.account
	}
	if len(q.Keys) > 0 {
		f.Keys = make(map[string]facts.State, len(q.Keys))
	}
	for _, k := range q.Keys {
		if _, ok := i.keys[k]; !ok {
			return facts.Fact{}, false
		}
		f.Keys[k] = facts.Present
	}
	return f, true
}

// keep keeps what an object that was read whole holds, if the index knows it.
func (v *Inventory) keep(o facts.Object, got *got) {
	if w := v.watched[o.Kind]; w != nil {
		if _, ok := w.index.get(o.Namespace, o.Name); ok {
			v.insides.put(o, v.insideOf(got, false))
		}
	}
}

// tokenSecretsOf goes by what token Secrets are annotated with.
func (v *Inventory) tokenSecretsOf(q *facts.Query) []string {
	names := v.watched[reference.Secret].index.namesWith(q.Namespace, func(name string) bool {
		account, ok := v.insides.accountOf(facts.Object{Kind: reference.Secret, Namespace: q.Namespace, Name: name})
		return ok && account == q.Name
	})
	slices.Sort(names)
	return names
}

// read answers by live reads, some at a time.
func (v *Inventory) read(ctx context.Context, arrived time.Time, queries []facts.Query, set *facts.Set) {
	answers := make([]facts.Fact, len(queries))
	slots := make(chan struct{}, parallelReads)
	var group sync.WaitGroup
	for i := range queries {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			answers[i] = v.reader.read(ctx, arrived, &queries[i])
		})
	}
	group.Wait()
	for i := range queries {
		set.Put(queries[i].Object, v.atLeast(&queries[i], answers[i], arrived))
	}
}

// atLeast puts what the index knows beside a read that failed: that an object
// exists stays known, while what it holds is not.
func (v *Inventory) atLeast(q *facts.Query, f facts.Fact, now time.Time) facts.Fact {
	if f.State != facts.Unknown {
		return f
	}
	known, ok := v.indexed(&facts.Query{Object: q.Object}, now)
	if !ok {
		return f
	}
	known.Why, known.Inside, known.Fresh = f.Why, q.Inside, q.Fresh
	if len(q.Keys) > 0 {
		known.Keys = make(map[string]facts.State, len(q.Keys))
	}
	for _, k := range q.Keys {
		known.Keys[k] = facts.Unknown
	}
	return known
}
