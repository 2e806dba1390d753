package inventory

import (
	"sync"

	"tokenward.dev/tokenward/pkg/facts"
)

// maxKeyed bounds how many objects the keys are kept of.
const maxKeyed = 20_000

// keyCache keeps the names of the keys of objects that were read whole, for as
// long as uid and resource version stay the same.
type keyCache struct {
	mu      sync.RWMutex
	objects map[facts.Object]keyed
}

type keyed struct {
	entry entry
	keys  map[string]struct{}
}

func newKeyCache() *keyCache { return &keyCache{objects: map[facts.Object]keyed{}} }

// get returns the keys of an object as the index knows it now.
func (c *keyCache) get(o facts.Object, now entry) (map[string]struct{}, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	k, ok := c.objects[o]
	if !ok || k.entry.uid != now.uid || k.entry.version != now.version {
		return nil, false
	}
	return k.keys, true
}

func (c *keyCache) put(o facts.Object, at entry, keys map[string]struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.objects[o]; !known && len(c.objects) >= maxKeyed {
		for other := range c.objects { // any one: the order of a map is random
			delete(c.objects, other)
			break
		}
	}
	c.objects[o] = keyed{entry: at, keys: keys}
}

// forget drops the keys of an object that changed or is gone.
func (c *keyCache) forget(o facts.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.objects, o)
}
