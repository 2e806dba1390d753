package trust

import (
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
	if len(m.ids) >= maxMet && !m.dropFrom(namespace) {
		return false
	}
	m.ids[id] = &metKey{first: now, namespace: namespace}
	m.count[namespace]++
	return true
}

// dropFrom makes room for one of a namespace: the latest of the namespace that has
// the most goes. It reports false where that is the namespace itself.
func (m *metKeys) dropFrom(namespace string) bool {
	names := slices.Sorted(maps.Keys(m.count))
	most := slices.MaxFunc(names, func(a, b string) int { return m.count[a] - m.count[b] })
	if m.count[most] <= m.count[namespace]+1 {
		return false
	}
	latest := ""
	for id, k := range m.ids {
		if k.namespace == most && (latest == "" || k.first.After(m.ids[latest].first)) {
			latest = id
		}
	}
	delete(m.ids, latest)
	m.count[most]--
	return true
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
	m.meet(r.ID, r.Namespace, r.First)
	if k := m.ids[r.ID]; k != nil {
		k.first, k.refreshes = earlier(k.first, r.First), max(k.refreshes, min(r.Refreshes, leastRefreshes))
	}
}
