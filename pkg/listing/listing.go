package listing

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/source"
)

// Listing is a store of everything that facts are made of, filled from lists. It
// keeps some hundred bytes an object, and no value of any key. Several goroutines
// may use it at once.
type Listing struct {
	mu      sync.RWMutex
	objects map[facts.Object]*object
	// scopes are the kinds and namespaces that were listed. A
	// reason says why one could not be.
	scopes map[scope]facts.Why
	// tokenSecrets are the names of token Secrets, by account.
	tokenSecrets map[facts.Object][]string
	// bundles are ClusterTrustBundles, which are chosen by signer and labels.
	bundles []bundle
}

// scope is a kind in a namespace, or in all of them if that is empty.
type scope struct {
	kind      reference.Kind
	namespace string
}

type bundle struct {
	name, signer string
	labels       labels.Set
}

// object is what is known of an object. It is replaced, never written to.
type object struct {
	*cluster.Object            // nil where it is not present
	absent          facts.Fact // what is known then
	// live is set where the object was read by itself, after everything was listed.
	live bool
}

// New returns an empty Listing, in which nothing counts as listed.
func New() *Listing {
	return &Listing{objects: map[facts.Object]*object{}, scopes: map[scope]facts.Why{}, tokenSecrets: map[facts.Object][]string{}}
}

// SetListed notes that all objects of a kind in a namespace (all if empty) are in
// the store, or why they could not be listed.
func (l *Listing) SetListed(kind reference.Kind, namespace string, why facts.Why) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.scopes[scope{kind, namespace}] = why
}

// Add adds an object of a list.
func (l *Listing) Add(kind reference.Kind, m metav1.Object, o *cluster.Object) {
	o.Contents = true // lists bring objects whole
	l.put(facts.Object{Kind: kind, Namespace: m.GetNamespace(), Name: m.GetName()}, &object{Object: o})
}

func (l *Listing) put(o facts.Object, k *object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.objects[o]; old != nil && old.isTokenSecret() {
		account := tokenSecretsOf(o.Namespace, old.Secret.Account)
		l.tokenSecrets[account] = slices.DeleteFunc(l.tokenSecrets[account], func(name string) bool { return name == o.Name })
	}
	if k.isTokenSecret() {
		account := tokenSecretsOf(o.Namespace, k.Secret.Account)
		l.tokenSecrets[account] = append(l.tokenSecrets[account], o.Name)
	}
	l.objects[o] = k
}

func tokenSecretsOf(namespace, account string) facts.Object {
	return facts.Object{Kind: facts.TokenSecretsOf, Namespace: namespace, Name: account}
}

// Secret returns what a Secret holds; nil if that is unknown or there is none.
func (l *Listing) Secret(namespace, name string) *facts.Secret {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if k := l.objects[facts.Object{Kind: reference.Secret, Namespace: namespace, Name: name}]; k != nil && k.Object != nil {
		return k.Secret
	}
	return nil
}

// TokenSecrets returns all Secrets of the type of token Secrets.
func (l *Listing) TokenSecrets() []facts.Object {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var out []facts.Object
	for o, k := range l.objects {
		if o.Kind == reference.Secret && k.isTokenSecret() {
			out = append(out, o)
		}
	}
	return out
}

// Lookup answers a query, at any time alike. It is not sure where the answer needs a
// live read: the object's kind was not listed there, or a fault would rest on a
// list that is older than what is judged.
func (l *Listing) Lookup(q *facts.Query, _ time.Time) (fact facts.Fact, sure bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	switch {
	case q.Kind == facts.TokenSecretsOf:
		names := slices.Clone(l.tokenSecrets[q.Object])
		slices.Sort(names)
		return facts.Fact{State: facts.Present, Names: names, Fresh: true}, true
	case q.SignerName != "":
		return l.selectBundle(q), true
	}
	k := l.objects[q.Object]
	if k == nil {
		why, listed := l.scope(q)
		if listed && why != facts.NoReason {
			return facts.Fact{Why: why}, true
		}
		// Absent by the list alone, or not listed: both need a live read.
		return facts.Fact{State: facts.Absent}, false
	}
	return k.fact(q), k.live || (!q.Fresh && k.Object != nil && k.HasKeys(q.Keys...))
}

// scope returns whether the object of a query is in a scope that was listed, and
// why that could not be.
func (l *Listing) scope(q *facts.Query) (facts.Why, bool) {
	if why, ok := l.scopes[scope{q.Kind, ""}]; ok {
		return why, true
	}
	why, ok := l.scopes[scope{q.Kind, q.Namespace}]
	return why, ok
}

func (o *object) isTokenSecret() bool {
	return o.Object != nil && o.Secret != nil && o.Secret.TokenSecret
}

func (o *object) fact(q *facts.Query) facts.Fact {
	if o.Object == nil {
		return o.absent
	}
	f := o.Fact(q)
	f.Fresh = true // what the list has may be believed where no fault rests on it
	return f
}

// selectBundle answers whether a signer has a bundle with the labels.
func (l *Listing) selectBundle(q *facts.Query) facts.Fact {
	if why := l.scopes[scope{reference.ClusterTrustBundle, ""}]; why != facts.NoReason {
		return facts.Fact{Why: why}
	}
	selector, err := q.Selector()
	if err != nil {
		return facts.Fact{Why: facts.Failed}
	}
	for i := range l.bundles {
		if l.bundles[i].signer == q.SignerName && selector.Matches(l.bundles[i].labels) {
			return facts.Fact{State: facts.Present, Fresh: true}
		}
	}
	return facts.Fact{State: facts.Absent, Fresh: true}
}

// Gather answers a judgement from the store, and returns what had better be read live
// before anybody believes it.
func (l *Listing) Gather(needs func(*facts.Set) []facts.Query) (set *facts.Set, doubtful []facts.Object) {
	var doubts doubts
	stack := source.Stack{Stores: []source.Store{l}, Reader: &doubts}
	set = stack.Gather(context.Background(), time.Time{}, needs)
	return set, doubts
}

// doubts are the objects of which a read could tell more. As a source.Reader it
// notes them, and answers with what is known.
type doubts []facts.Object

// Read implements source.Reader.
func (d *doubts) Read(_ context.Context, _ time.Time, queries []facts.Query, known []facts.Fact) []facts.Fact {
	for i := range queries {
		if !slices.Contains(*d, queries[i].Object) {
			*d = append(*d, queries[i].Object)
		}
	}
	return known
}

// Confirm reads objects live into the store.
func (l *Listing) Confirm(ctx context.Context, client *cluster.Client, objects []facts.Object) error {
	var group errgroup.Group
	group.SetLimit(cluster.ParallelReads)
	for _, o := range objects {
		group.Go(func() error {
			found, err := client.Get(ctx, o, true)
			if err != nil {
				l.put(o, &object{absent: cluster.Unanswered(o.Name, err), live: true})
				return nil //nolint:nilerr // it is unknown, which is no failure
			}
			l.put(o, &object{Object: found, live: true})
			return nil
		})
	}
	_ = group.Wait()
	return ctx.Err()
}

func (l *Listing) addBundle(b bundle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bundles = append(l.bundles, b)
}
