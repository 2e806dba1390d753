package sim

import "fmt"

// reader is what a client that lists and watches has come to.
type reader struct {
	version  int64
	restores int // that there had been
}

// noteReader notes the version that a list shows, or that a watch goes on from or
// has come to. Where etcd was restored without its versions bumped and had come to a
// version again that the client knows, the client goes on from there as if nothing
// had happened: no client can notice, and what it missed it does not know.
func (w *world) noteReader(c *call, version int64, goesOn bool) {
	w.store.mu.Lock()
	restores := w.store.restores
	w.store.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	name := fmt.Sprint(c.from, c.resource, c.namespace, c.query("fieldSelector"), c.partial)
	before, known := w.readers[name]
	w.blind = w.blind || (known && before.restores != restores && version < before.version+bump/2 && (goesOn || version >= before.version))
	w.readers[name] = reader{version, restores}
}
