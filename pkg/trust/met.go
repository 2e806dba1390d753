package trust

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// metKeys are the key ids of tokens that no accepted key fits, with when they were
// first met. Whoever may write Secrets in a namespace can make them up, so each
// namespace has a share, and what is beyond it stays unknown for ever.
type metKeys struct {
	ids   map[string]*metKey
	count map[string]int // by namespace
}

type metKey struct {
	first time.Time
	// refreshes that succeeded since and lacked it; no more than leastRefreshes.
	refreshes int
	namespace string
}

const (
	maxMet            = 2048
	maxMetInNamespace = 64
	// maxKeyID bounds what is remembered as a key id. Those of API servers have 43
	// characters.
	maxKeyID = 128
)

func newMetKeys() *metKeys { return &metKeys{ids: map[string]*metKey{}, count: map[string]int{}} }

// meet notes that a token in a namespace names a key that is not accepted. It
// returns whether that is news.
func (m *metKeys) meet(id, namespace string, now time.Time) bool {
	if _, known := m.ids[id]; known || len(id) > maxKeyID || m.count[namespace] >= maxMetInNamespace {
		return false
	}
	m.add(id, &metKey{first: now, namespace: namespace})
	return m.ids[id] != nil
}

// add remembers an id, and forgets what goes beyond the bounds. Which ids stay
// depends on the ids alone, not on who came first: replicas that share what they have
// met end up with the same ones.
func (m *metKeys) add(id string, k *metKey) {
	m.ids[id] = k
	if m.count[k.namespace]++; m.count[k.namespace] > maxMetInNamespace {
		m.forgetLatest(k.namespace)
	}
	if len(m.ids) > maxMet {
		names := slices.Sorted(maps.Keys(m.count))
		m.forgetLatest(slices.MaxFunc(names, func(a, b string) int { return m.count[a] - m.count[b] }))
	}
}

// forgetLatest forgets the id of a namespace that was met last.
func (m *metKeys) forgetLatest(namespace string) {
	latest := ""
	for id, k := range m.ids {
		if k.namespace == namespace && (latest == "" || cmp.Or(k.first.Compare(m.ids[latest].first), cmp.Compare(id, latest)) > 0) {
			latest = id
		}
	}
	m.forget(latest)
}

// countRefresh counts a successful refresh that showed some ids.
func (m *metKeys) countRefresh(shown map[string]bool) {
	for id, k := range m.ids {
		switch {
		case shown[id]: // it is published now, and remembered as such
			m.forget(id)
		case k.refreshes < leastRefreshes:
			k.refreshes++
		}
	}
}

func (m *metKeys) forget(id string) {
	if k := m.ids[id]; k != nil {
		if m.count[k.namespace]--; m.count[k.namespace] == 0 {
			delete(m.count, k.namespace)
		}
		delete(m.ids, id)
	}
}

// lacked reports whether enough refreshes have lacked an id that was met at the
// given time or earlier.
func (m *metKeys) lacked(id string, before time.Time) bool {
	k := m.ids[id]
	return k != nil && k.refreshes >= leastRefreshes && !k.first.After(before)
}

// merge takes over what another replica has met.
func (m *metKeys) merge(r *recordedMet) {
	k := &metKey{first: r.First, refreshes: min(max(r.Refreshes, 0), leastRefreshes), namespace: r.Namespace}
	if mine := m.ids[r.ID]; mine != nil {
		// Of two namespaces that showed it the first counts, for all replicas alike.
		k.refreshes = max(k.refreshes, mine.refreshes)
		if cmp.Or(mine.first.Compare(k.first), cmp.Compare(mine.namespace, k.namespace)) < 0 {
			k.first, k.namespace = mine.first, mine.namespace
		}
		m.forget(r.ID)
	}
	if len(r.ID) <= maxKeyID {
		m.add(r.ID, k)
	}
}
