package audit

import (
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// Holding is what a cluster holds, as lists brought it, reduced to what facts
// are made of: some hundred bytes an object, and no value of any key. It may be
// used by several goroutines at once.
type Holding struct {
	mu      sync.RWMutex
	objects map[facts.Object]*kept
	// listed says of each kind in which namespaces all objects are here, "" for
	// all of them; and why they are not, where they can't be listed.
	listed map[scope]facts.Why
	tokens map[facts.Object][]string // names of token Secrets, by account
	// bundles are ClusterTrustBundles, which are chosen by signer and labels.
	bundles []bundle
}

type scope struct {
	kind      reference.Kind
	namespace string
}

type bundle struct {
	name, signer string
	labels       labels.Set
}

// kept is an object. It is replaced, never written to.
type kept struct {
	// live is set for what was read by itself, after everything was listed.
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
	// account is what a ServiceAccount holds.
	account *facts.Account
}

// NewHolding returns one that holds nothing, and knows that.
func NewHolding() *Holding {
	return &Holding{objects: map[facts.Object]*kept{}, listed: map[scope]facts.Why{}, tokens: map[facts.Object][]string{}}
}

// complete notes that all objects of a kind in a namespace (all if empty) are
// here, or why they could not be listed.
func (h *Holding) complete(kind reference.Kind, namespace string, why facts.Why) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listed[scope{kind, namespace}] = why
}

func (h *Holding) put(o facts.Object, k *kept) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.objects[o]; old != nil && old.secret != nil && old.secret.TokenSecret {
		account := tokenSecretsOf(o.Namespace, old.secret.Account)
		h.tokens[account] = slices.DeleteFunc(h.tokens[account], func(name string) bool { return name == o.Name })
	}
	if k.secret != nil && k.secret.TokenSecret {
		account := tokenSecretsOf(o.Namespace, k.secret.Account)
		h.tokens[account] = append(h.tokens[account], o.Name)
	}
	h.objects[o] = k
}

func tokenSecretsOf(namespace, account string) facts.Object {
	return facts.Object{Kind: facts.TokenSecretsOf, Namespace: namespace, Name: account}
}

// secretOf returns what is known of a Secret; nil if it is not there.
func (h *Holding) secretOf(namespace, name string) *facts.Secret {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if k := h.objects[facts.Object{Kind: reference.Secret, Namespace: namespace, Name: name}]; k != nil {
		return k.secret
	}
	return nil
}

// answer answers from what is held. It reports false where only a live read can
// tell: the object's kind was not listed there, or a fault would rest on a list
// that is older than what is judged.
func (h *Holding) answer(q *facts.Query) (facts.Fact, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	switch {
	case q.Kind == facts.TokenSecretsOf:
		names := slices.Clone(h.tokens[q.Object])
		slices.Sort(names)
		return facts.Fact{State: facts.Present, Names: names, Fresh: true}, true
	case q.SignerName != "":
		return h.bundlesOf(q), true
	}
	k := h.objects[q.Object]
	if k == nil {
		why, listed := h.lists(q)
		if listed && why != facts.NotAsked {
			return facts.Fact{Why: why}, true
		}
		// Absent by the list alone, or not listed: both are for a live read.
		return facts.Fact{State: facts.Absent}, false
	}
	return k.fact(q), k.live || (!q.Fresh && k.state == facts.Present && k.has(q.Keys))
}

// lists tells whether a query is about what was listed.
func (h *Holding) lists(q *facts.Query) (facts.Why, bool) {
	if why, ok := h.listed[scope{q.Kind, ""}]; ok {
		return why, true
	}
	why, ok := h.listed[scope{q.Kind, q.Namespace}]
	return why, ok
}

func (k *kept) has(keys []string) bool {
	for _, key := range keys {
		if _, found := slices.BinarySearch(k.keys, key); !found {
			return false
		}
	}
	return true
}

func (k *kept) fact(q *facts.Query) facts.Fact {
	f := facts.Fact{State: k.state, Why: k.why}
	if k.state != facts.Present {
		return f
	}
	f.Labels, f.Whole, f.Names = k.labels, k.whole, k.names
	f.Inside, f.Fresh = true, true
	f.UID, f.Deleting, f.Secret, f.Account = k.uid, k.deleting, k.secret, k.account
	if len(q.Keys) > 0 {
		f.Keys = make(map[string]facts.State, len(q.Keys))
		for _, key := range q.Keys {
			f.Keys[key] = facts.Absent
			if _, found := slices.BinarySearch(k.keys, key); found {
				f.Keys[key] = facts.Present
			}
		}
	}
	return f
}

func (h *Holding) bundlesOf(q *facts.Query) facts.Fact {
	if why := h.listed[scope{reference.ClusterTrustBundle, ""}]; why != facts.NotAsked {
		return facts.Fact{Why: why}
	}
	selector, err := q.Selector()
	if err != nil {
		return facts.Fact{Why: facts.Failed}
	}
	for i := range h.bundles {
		if h.bundles[i].signer == q.SignerName && selector.Matches(h.bundles[i].labels) {
			return facts.Fact{State: facts.Present, Fresh: true}
		}
	}
	return facts.Fact{State: facts.Absent, Fresh: true}
}

// gather answers a judgement from what is held, and returns what had better be
// read live before anybody believes it.
func (h *Holding) gather(needs func(*facts.Set) []facts.Query) (set *facts.Set, doubtful []facts.Object) {
	set = facts.Collect(needs, func(queries []facts.Query, set *facts.Set) {
		for i := range queries {
			f, sure := h.answer(&queries[i])
			if !sure && !slices.Contains(doubtful, queries[i].Object) {
				doubtful = append(doubtful, queries[i].Object)
			}
			set.Put(queries[i].Object, f)
		}
	})
	return set, doubtful
}

func keysOf[V any](maps ...map[string]V) []string {
	var keys []string
	for _, m := range maps {
		for k := range m {
			keys = append(keys, strings.Clone(k))
		}
	}
	slices.Sort(keys)
	return keys
}

func deletion(o metav1.Object) time.Time {
	if d := o.GetDeletionTimestamp(); d != nil {
		return d.Time
	}
	return time.Time{}
}

// held is an object that exists, by its metadata.
func held(o metav1.Object) *kept {
	return &kept{state: facts.Present, uid: strings.Clone(string(o.GetUID())), deleting: deletion(o)}
}

func heldSecret(s *corev1.Secret, t *Trust) *kept {
	k := held(s)
	k.keys, k.secret = keysOf(s.Data), t.read(s)
	return k
}

func heldConfigMap(m *corev1.ConfigMap) *kept {
	k := held(m)
	k.keys = append(keysOf(m.Data), keysOf(m.BinaryData)...)
	slices.Sort(k.keys)
	return k
}

func heldAccount(a *corev1.ServiceAccount) *kept {
	k := held(a)
	k.account = facts.ReadAccount(a)
	return k
}

func (h *Holding) addBundle(b bundle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bundles = append(h.bundles, b)
}
