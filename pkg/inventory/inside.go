package inventory

import (
	"maps"
	"slices"
	"sync"

	"tokenward.dev/tokenward/pkg/facts"
)

// maxInsides bounds how many objects that were read live are kept.
const maxInsides = 20_000

// insideCache keeps what objects hold, for as long as uid and resource version
// stay the same: the names of keys, what is known of tokens, never a value.
type insideCache struct {
	mu      sync.RWMutex
	objects map[facts.Object]*inside
	read    int // those that were read live
}

// inside is what an object holds. It is never written to.
type inside struct {
	entry
	uidText string
	keys    map[string]struct{}
	secret  *facts.Secret
	account *facts.Account
	// generation of the trust that the tokens were checked with.
	generation uint64
	// watched is set for token Secrets, which a watch of their own brings.
	watched bool
}

// checkedWith reports whether the tokens, if any, were checked by a trust.
func (i *inside) checkedWith(t *trust) bool {
	return i.secret == nil || i.generation == t.generation || (len(i.secret.Tokens) == 0 && !i.secret.HasCA)
}

func newInsideCache() *insideCache { return &insideCache{objects: map[facts.Object]*inside{}} }

// get returns what an object holds that the index knows in a version. What is
// newer than the index is as good: the two watches do not go in step.
func (c *insideCache) get(o facts.Object, now entry) (*inside, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i, ok := c.objects[o]
	if !ok || i.uid != now.uid || i.version < now.version {
		return nil, false
	}
	return i, true
}

// accountOf returns which account a token Secret is of.
func (c *insideCache) accountOf(o facts.Object) (string, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i, ok := c.objects[o]
	if !ok || !i.watched || i.secret == nil {
		return "", false
	}
	return i.secret.Account, true
}

func (c *insideCache) put(o facts.Object, fresh *inside) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.objects[o]
	if old != nil && old.uid == fresh.uid && (old.version > fresh.version || (old.version == fresh.version && old.generation > fresh.generation)) {
		if fresh.watched && !old.watched { // it is a token Secret all the same
			kept := *old
			kept.watched = true
			c.drop(o)
			c.objects[o] = &kept
		}
		return
	}
	if old != nil && old.uid == fresh.uid {
		fresh.watched = fresh.watched || old.watched
	}
	c.drop(o)
	if !fresh.watched {
		if c.read >= maxInsides {
			for other, i := range c.objects { // any one: the order of a map is random
				if !i.watched {
					c.drop(other)
					break
				}
			}
		}
		c.read++
	}
	c.objects[o] = fresh
}

func (c *insideCache) drop(o facts.Object) {
	if i, ok := c.objects[o]; ok {
		if !i.watched {
			c.read--
		}
		delete(c.objects, o)
	}
}

// outdate drops what is known of an object that changed to a version.
func (c *insideCache) outdate(o facts.Object, now entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, ok := c.objects[o]; ok && (i.uid != now.uid || i.version < now.version) {
		c.drop(o)
	}
}

// forget drops what is known of an object that is gone.
func (c *insideCache) forget(o facts.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(o)
}

// keepWatched forgets the token Secrets in a namespace (all if empty) that are
// not among the names.
func (c *insideCache) keepWatched(namespace string, names map[facts.Object]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for o, i := range c.objects {
		if i.watched && (namespace == "" || o.Namespace == namespace) && !names[o] {
			c.drop(o)
		}
	}
}

// withTokens returns the namespaces that have an object with a token in it.
func (c *insideCache) withTokens() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	found := map[string]bool{}
	for o, i := range c.objects {
		if i.secret != nil && (len(i.secret.Tokens) > 0 || i.secret.HasCA) {
			found[o.Namespace] = true
		}
	}
	return slices.Collect(maps.Keys(found))
}
