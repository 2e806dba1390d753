package inventory

import (
	"maps"
	"slices"
	"sync"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/trust"
)

// maxContents bounds how many objects that were read live are kept.
const maxContents = 20_000

// contentsCache keeps what objects hold, for as long as uid and resource version
// stay the same: the names of keys, what is known of tokens, never a value.
type contentsCache struct {
	mu      sync.RWMutex
	objects map[facts.Object]*contents
	read    int // those that were read live
}

// contents is what an object holds. It is never written to.
type contents struct {
	entry
	*cluster.Object
	// watched is set for token Secrets, which a watch of their own brings.
	watched bool
}

// checkedBy reports whether the tokens, if any, were checked by a trust.
func (c *contents) checkedBy(t *trust.Trust) bool {
	return c.Secret == nil || c.Generation == t.Generation() || (len(c.Secret.Tokens) == 0 && !c.Secret.HasCA)
}

func newContentsCache() *contentsCache {
	return &contentsCache{objects: map[facts.Object]*contents{}}
}

// get returns what an object holds that the index knows in a version. What is
// newer than the index is as good: the two watches do not go in step.
func (c *contentsCache) get(o facts.Object, now entry) (*contents, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i, ok := c.objects[o]
	if !ok || i.uid != now.uid || i.version < now.version {
		return nil, false
	}
	return i, true
}

// accountOf returns which account a token Secret is of.
func (c *contentsCache) accountOf(o facts.Object) (string, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i, ok := c.objects[o]
	if !ok || !i.watched || i.Secret == nil {
		return "", false
	}
	return i.Secret.Account, true
}

func (c *contentsCache) put(o facts.Object, fresh *contents) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.objects[o]
	if old != nil && old.uid == fresh.uid && (old.version > fresh.version || (old.version == fresh.version && old.Generation > fresh.Generation)) {
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
		if c.read >= maxContents {
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

func (c *contentsCache) drop(o facts.Object) {
	if i, ok := c.objects[o]; ok {
		if !i.watched {
			c.read--
		}
		delete(c.objects, o)
	}
}

// outdate drops what is known of an object that changed to a version.
func (c *contentsCache) outdate(o facts.Object, now entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, ok := c.objects[o]; ok && (i.uid != now.uid || i.version < now.version) {
		c.drop(o)
	}
}

// forget drops what is known of an object that is gone.
func (c *contentsCache) forget(o facts.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(o)
}

// keepListed forgets all objects of a kind in a namespace (all if empty) but those
// that are as a new list has them. A list may be older than what was read: an etcd
// that was restored gives the versions that it had once more, to other contents.
func (c *contentsCache) keepListed(kind reference.Kind, namespace string, listed func(namespace, name string) (entry, bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for o, i := range c.objects {
		if o.Kind != kind || (namespace != "" && o.Namespace != namespace) {
			continue
		}
		if e, ok := listed(o.Namespace, o.Name); !ok || e.uid != i.uid || e.version != i.version {
			c.drop(o)
		}
	}
}

// keepWatched forgets the token Secrets in a namespace (all if empty) that are
// not among the names.
func (c *contentsCache) keepWatched(namespace string, names map[facts.Object]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for o, i := range c.objects {
		if i.watched && (namespace == "" || o.Namespace == namespace) && !names[o] {
			c.drop(o)
		}
	}
}

// withTokens returns the namespaces that have an object with a token in it.
func (c *contentsCache) withTokens() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	found := map[string]bool{}
	for o, i := range c.objects {
		if i.Secret != nil && (len(i.Secret.Tokens) > 0 || i.Secret.HasCA) {
			found[o.Namespace] = true
		}
	}
	return slices.Collect(maps.Keys(found))
}
