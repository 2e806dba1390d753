// Package inventory answers queries about a live cluster. An index of Secrets,
// fed by a metadata-only watch, answers when all is well without any call to
// the API server; whatever it does not have is read live before anybody is told
// that it is absent. Indexes of ConfigMaps, ServiceAccounts and Namespaces do the
// same for those. A second watch brings token Secrets, whose tokens are verified
// by the keys that the API server publishes, and dropped.
//
// It imports packages cluster, facts, metrics, owntoken, reference, source and trust,
// never policy: it knows what the cluster holds, not what anybody makes of it.
package inventory

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/owntoken"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/source"
	"tokenward.dev/tokenward/pkg/trust"
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
	Signing trust.Options
	// Changed is called when something that judgements in a namespace may rest
	// on has changed: a Secret, an account, a ConfigMap (that came or went), the
	// Namespace itself, or the keys that its tokens are verified by. It must
	// return at once. It may be nil.
	Changed func(namespace string)
	// ObjectChanged is called for every object that has changed; for one without a
	// name, all of its kind may have, in its namespace or everywhere. It must return at
	// once. It may be nil.
	ObjectChanged func(facts.Object)
}

// defaultStaleAfter allows two bookmarks to be late.
const defaultStaleAfter = 150 * time.Second

// Inventory answers queries from an index and by live reads.
type Inventory struct {
	watched    map[reference.Kind]*watched
	contents   *contentsCache
	trust      *trust.Follower
	tokens     *tokenWatch
	reducer    cluster.Reducer
	reader     *reader
	background *background
	// What reviews of each namespace may read, and beside that to confirm faults.
	rate, confirmingRate *rate
	doubts               *rate // of what a silent watch has brought
	staleAfter           time.Duration
	metrics              *metrics.Metrics
}

// New returns an inventory that reads from the API server of config. Start
// must run for it to become synced.
func New(config *rest.Config, o Options, m *metrics.Metrics, log logr.Logger) (*Inventory, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // a budget of our own takes the place of the client's limiter
	keys, err := trust.New(config, o.Signing, m, log.WithName("keys"))
	if err != nil {
		return nil, err
	}
	reducer := cluster.Reducer{Trust: keys, Verifications: m.TokenVerifications}
	client, err := cluster.NewClient(config, reducer)
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	v := &Inventory{
		watched: map[reference.Kind]*watched{}, contents: newContentsCache(), trust: keys, reducer: reducer,
		reader: newReader(client, maxInFlight, m, log), staleAfter: o.StaleAfter, metrics: m,
		rate: newRate(), confirmingRate: newRate(), doubts: newRate(),
	}
	if v.staleAfter == 0 {
		v.staleAfter = defaultStaleAfter
	}
	if o.Changed == nil {
		o.Changed = func(string) {}
	}
	if o.ObjectChanged == nil {
		o.ObjectChanged = func(facts.Object) {}
	}
	for kind, resource := range watchedKinds() {
		w := newWatched(kind, resource, o.Namespaces, client, m, log.WithName("watch"))
		v.follow(w.index, kind, &o)
		v.watched[kind] = w
	}
	v.tokens = newTokenWatch(v, client.Core, o.Namespaces, log.WithName("tokens"))
	keys.OnChange(func() {
		note(v.tokens.verify)
		for _, ns := range v.contents.withTokens() {
			o.Changed(ns)
		}
		o.ObjectChanged(facts.Object{Kind: facts.SigningKey})
	})
	v.reader.onContents = v.keep
	if v.background, err = newBackground(config, v, m, log); err != nil {
		return nil, err
	}
	return v, nil
}

// follow has the cache of contents, and whoever wants to know of changes, follow an
// index of a kind.
func (v *Inventory) follow(x *index, kind reference.Kind, o *Options) {
	x.onList = func(namespace string, listed func(namespace, name string) (entry, bool), wentBack bool) {
		if wentBack { // the same version may stand for something else by now
			listed = func(string, string) (entry, bool) { return entry{}, false }
		}
		v.contents.keepListed(kind, namespace, listed)
		if wentBack && kind == reference.Secret {
			note(v.tokens.verify) // what token Secrets hold is read again
		}
	}
	x.onReplace = func(namespaces []string) {
		for _, ns := range namespaces {
			o.Changed(ns)
		}
		o.ObjectChanged(facts.Object{Kind: kind})
	}
	x.onChange = func(namespace, name string, isNew bool, now *entry) {
		if object := (facts.Object{Kind: kind, Namespace: namespace, Name: name}); now == nil {
			v.contents.forget(object)
		} else {
			v.contents.outdate(object, *now)
		}
		o.ObjectChanged(facts.Object{Kind: kind, Namespace: namespace, Name: name})
		switch {
		case kind == namespaceKind:
			o.Changed(name)
		case kind != reference.ConfigMap || isNew || now == nil: // leader election writes ConfigMaps all the time
			o.Changed(namespace)
		}
	}
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
	// A Reflector that fails tries again later and later: these wait instead, and go
	// on at once when there is a better token.
	patient := owntoken.Patient(ctx)
	for _, w := range v.watched {
		for _, r := range w.reflectors {
			group.Go(func() { r.RunWithContext(patient) })
		}
	}
	group.Go(func() { v.tokens.run(patient) })
	group.Go(func() { v.trust.Run(ctx) })
	group.Go(func() { v.watchAges(ctx) })
	group.Wait()
	return nil
}

// Reconnected has what failed for the program's own token tried again soon.
func (v *Inventory) Reconnected() { v.trust.Kick() }

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
	return v.tokens.synced() && v.trust.Tried()
}

// Gather implements source.Source for admission: from the index what is there, and
// by live reads, bounded in number, all that a refusal would rest on.
func (v *Inventory) Gather(ctx context.Context, arrived time.Time, needs func(*facts.Set) []facts.Query) *facts.Set {
	stack := source.Stack{Stores: []source.Store{v}, Reader: &reviewReader{inventory: v}}
	return stack.Gather(ctx, arrived, needs)
}

// Lookup implements source.Store. It is sure of "present" alone: that something is
// absent, object or key, is always confirmed live; and of what an object holds
// only for those who did not ask for a fresh answer. While the watch is silent it is sure
// of little; where a read fails, what the index knew last stays in force.
func (v *Inventory) Lookup(q *facts.Query, now time.Time) (f facts.Fact, sure bool) {
	switch q.Kind {
	case facts.TokenSecretsOf:
		return facts.Fact{State: facts.Present, Names: v.tokenSecretsOf(q), Fresh: true}, true
	case facts.SigningKey:
		f := keyFact(v.trust.Key(q.Name))
		return f, !q.Fresh && f.State != facts.Absent
	default:
	}
	w := v.watched[q.Kind]
	if w == nil {
		return facts.Fact{}, false
	}
	f, sure = v.indexed(w, q)
	switch {
	case f.State == facts.Unknown && q.IfIndexed:
		return facts.Fact{State: facts.Absent, Why: facts.NotIndexed}, true
	case sure && w.age(now) > v.staleAfter:
		return f, !q.WantsContents() && !v.doubts.take(askerOf(q), doubtCost, now)
	}
	return f, sure
}

// doubtCost is what it costs to doubt that an object exists which a silent watch has
// brought. Each namespace may doubt a few times a second: all look-ups must not become
// reads just then, and that something exists refuses nobody. What an object holds is
// read in any case: who replaced it might have spent the doubts.
const doubtCost = burst / 10

// indexed returns what the index knows, whenever that was.
func (v *Inventory) indexed(w *watched, q *facts.Query) (f facts.Fact, sure bool) {
	e, ok := w.index.get(q.Namespace, q.Name)
	if !ok {
		return facts.Fact{}, false
	}
	f = facts.Fact{State: facts.Present}
	switch {
	case q.Kind == namespaceKind:
		whole := w.index.wholeOf(q.Name)
		if whole == nil {
			return facts.Fact{}, false
		}
		f.Labels, f.Whole = whole.Labels, whole.Whole
		return f, !q.Fresh
	case !q.WantsContents():
		return f, !q.Fresh
	}
	c, ok := v.contents.get(q.Object, e)
	if !ok || q.Fresh || (q.Contents && (e.deleting || !c.checkedBy(v.trust.Trust()))) || !c.HasKeys(q.Keys...) {
		return f, false
	}
	return c.Fact(q), true
}

func keyFact(state facts.State) facts.Fact {
	if state == facts.Unknown {
		return facts.Fact{Why: facts.Unsettled}
	}
	return facts.Fact{State: state}
}

// keep keeps what an object that was read whole holds, if the index knows it.
func (v *Inventory) keep(id facts.Object, o *cluster.Object) {
	if w := v.watched[id.Kind]; w != nil {
		if _, ok := w.index.get(id.Namespace, id.Name); ok {
			v.contents.put(id, v.contentsOf(o, false))
		}
	}
}

// tokenSecretsOf goes by what token Secrets are annotated with.
func (v *Inventory) tokenSecretsOf(q *facts.Query) []string {
	names := v.watched[reference.Secret].index.namesWith(q.Namespace, func(name string) bool {
		account, ok := v.contents.accountOf(facts.Object{Kind: reference.Secret, Namespace: q.Namespace, Name: name})
		return ok && account == q.Name
	})
	slices.Sort(names)
	return names
}
