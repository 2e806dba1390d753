package listing

import (
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// Listing is a store of everything that facts are made of, filled from lists. It
// keeps some hundred bytes an object, and no value of any key. Several goroutines
// may use it at once.
type Listing struct {
	mu      sync.RWMutex
	objects map[facts.Object]*object
	// scopes are the kinds and namespaces that were listed. What is not NotAsked
	// says why one could not be.
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
	// live is set where the object was read by itself, after everything was listed.
	live     bool
	state    facts.State
	why      facts.Why
	uid      string
	deleting time.Time
	keys     []string // sorted
	labels   map[string]string
	whole    map[string]any
	names    []string
	secret   *facts.Secret
	account  *facts.Account
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

// AddSecret adds a Secret, reduced by what the API server accepts.
func (l *Listing) AddSecret(s *corev1.Secret, trust *Trust) {
	l.put(identify(reference.Secret, s), reduceSecret(s, trust))
}

// AddConfigMap adds a ConfigMap.
func (l *Listing) AddConfigMap(m *corev1.ConfigMap) {
	l.put(identify(reference.ConfigMap, m), reduceConfigMap(m))
}

// AddAccount adds a ServiceAccount.
func (l *Listing) AddAccount(a *corev1.ServiceAccount) {
	l.put(identify(reference.ServiceAccount, a), reduceAccount(a))
}

// identify returns the name that facts have for an object.
func identify(kind reference.Kind, o metav1.Object) facts.Object {
	return facts.Object{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

func (l *Listing) put(o facts.Object, k *object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.objects[o]; old != nil && old.secret != nil && old.secret.TokenSecret {
		account := tokenSecretsOf(o.Namespace, old.secret.Account)
		l.tokenSecrets[account] = slices.DeleteFunc(l.tokenSecrets[account], func(name string) bool { return name == o.Name })
	}
	if k.secret != nil && k.secret.TokenSecret {
		account := tokenSecretsOf(o.Namespace, k.secret.Account)
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
	if k := l.objects[facts.Object{Kind: reference.Secret, Namespace: namespace, Name: name}]; k != nil {
		return k.secret
	}
	return nil
}

// TokenSecrets returns all Secrets of the type of token Secrets.
func (l *Listing) TokenSecrets() []facts.Object {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var out []facts.Object
	for o, k := range l.objects {
		if o.Kind == reference.Secret && k.secret != nil && k.secret.TokenSecret {
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
		if listed && why != facts.NotAsked {
			return facts.Fact{Why: why}, true
		}
		// Absent by the list alone, or not listed: both need a live read.
		return facts.Fact{State: facts.Absent}, false
	}
	return k.fact(q), k.live || (!q.Fresh && k.state == facts.Present && k.hasKeys(q.Keys))
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

func (o *object) hasKeys(keys []string) bool {
	for _, key := range keys {
		if _, found := slices.BinarySearch(o.keys, key); !found {
			return false
		}
	}
	return true
}

func (o *object) fact(q *facts.Query) facts.Fact {
	f := facts.Fact{State: o.state, Why: o.why}
	if o.state != facts.Present {
		return f
	}
	f.Labels, f.Whole, f.Names = o.labels, o.whole, o.names
	f.Inside, f.Fresh = true, true
	f.UID, f.Deleting, f.Secret, f.Account = o.uid, o.deleting, o.secret, o.account
	if len(q.Keys) > 0 {
		f.Keys = make(map[string]facts.State, len(q.Keys))
		for _, key := range q.Keys {
			f.Keys[key] = facts.Absent
			if _, found := slices.BinarySearch(o.keys, key); found {
				f.Keys[key] = facts.Present
			}
		}
	}
	return f
}

// selectBundle answers whether a signer has a bundle with the labels.
func (l *Listing) selectBundle(q *facts.Query) facts.Fact {
	if why := l.scopes[scope{reference.ClusterTrustBundle, ""}]; why != facts.NotAsked {
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

// Gather answers the queries of a judgement. doubtful are the objects to read live
// before anybody reports a fault that rests on them.
func (l *Listing) Gather(needs func(*facts.Set) []facts.Query) (set *facts.Set, doubtful []facts.Object) {
	set = facts.Collect(needs, func(queries []facts.Query, set *facts.Set) {
		for i := range queries {
			f, sure := l.Lookup(&queries[i], time.Time{})
			if !sure && !slices.Contains(doubtful, queries[i].Object) {
				doubtful = append(doubtful, queries[i].Object)
			}
			set.Put(queries[i].Object, f)
		}
	})
	return set, doubtful
}

func (l *Listing) addBundle(b bundle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bundles = append(l.bundles, b)
}
