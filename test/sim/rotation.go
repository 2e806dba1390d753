package sim

import (
	"slices"
	"time"
)

// rotate changes the signing keys: each API server gets the new key and loses the
// old ones at a time of its own, and the controller manager begins to sign with
// it at some time between, or too early, or too late.
func (w *world) rotate() {
	w.mu.Lock()
	if len(w.unused) == 0 {
		w.mu.Unlock()
		return
	}
	fresh := w.unused[0]
	w.unused = w.unused[1:]
	w.mu.Unlock()
	r := w.random
	longest := pick(r, []time.Duration{50 * time.Millisecond, 5 * time.Second, 30 * time.Second})
	overlap := !r.chance(40)
	for _, s := range w.servers {
		down := time.Duration(0)
		if r.chance(50) {
			down = r.between(10*time.Millisecond, 3*time.Second)
		}
		first := r.between(time.Millisecond, longest)
		if !overlap {
			w.after(first, func() { w.rekey(s, down, func([]*signingKey) []*signingKey { return []*signingKey{fresh} }) })
			continue
		}
		w.after(first, func() {
			w.rekey(s, down, func(old []*signingKey) []*signingKey { return append(slices.Clone(old), fresh) })
		})
		second := first + down + r.between(time.Millisecond, longest)
		if !r.chance(15) { // else the old keys stay
			w.after(second, func() { w.rekey(s, down, func([]*signingKey) []*signingKey { return []*signingKey{fresh} }) })
		}
	}
	w.after(r.between(time.Millisecond, 2*longest), func() {
		w.mu.Lock()
		w.signer = fresh
		w.mu.Unlock()
		w.trace("the controller manager signs with %s", fresh.name)
	})
	if r.chance(70) { // somebody mends what the rotation broke
		ns, to := pick(r, namespaces()), w.someReplica()
		p, q := pick(r, w.tokenPods(ns)), pick(r, w.tokenPods(ns))
		w.after(2*longest+r.between(time.Millisecond, 2*time.Second), func() {
			for _, name := range []string{"robot-token", "ghost-token"} {
				w.change(id{"secrets", ns, name}, func(o *object) { delete(o.data, "token") })
				w.fill(ns, name)
			}
			for _, name := range []string{"copied", "bound", "no-key-id"} {
				w.putCopy(ns, name)
			}
			w.askSoon(q, to)
			w.ask(p, to)
		})
	}
}

// tokenPods are the pods of a namespace that get a token.
func (w *world) tokenPods(ns string) []*podCase {
	return slices.DeleteFunc(slices.Clone(w.pods), func(p *podCase) bool {
		return p.namespace != ns || !p.hasToken() || p.name == "foreign" || p.name == "forged"
	})
}

// rekey changes the keys of a server, which restarts for it.
func (w *world) rekey(s *server, down time.Duration, change func([]*signingKey) []*signingKey) {
	w.goDown(s)
	time.Sleep(down)
	w.mu.Lock()
	s.keys = change(s.keys)
	names := make([]string, len(s.keys))
	for i, k := range s.keys {
		names[i] = k.name
	}
	w.mu.Unlock()
	w.goUp(s)
	w.trace("%s accepts %v", s, names)
}

func (w *world) goDown(s *server) {
	w.mu.Lock()
	if s.up {
		s.up = false
		close(s.stopped)
	}
	w.mu.Unlock()
	w.trace("%s is down", s)
	w.observe()
}

func (w *world) goUp(s *server) {
	newest := s.newest()
	w.mu.Lock()
	if !s.up {
		s.up, s.stopped, s.seen = true, make(chan struct{}), newest
	}
	w.mu.Unlock()
	w.trace("%s is up", s)
	w.observe()
}

func (w *world) restartServer() {
	w.inject(faultServerRestart)
	s, down := pick(w.random, w.servers), w.random.between(10*time.Millisecond, 5*time.Second)
	w.goDown(s)
	w.after(down, func() { w.goUp(s) })
}

// restartReplica stops a replica and starts another in its place.
func (w *world) restartReplica() {
	w.inject(faultReplicaRestart)
	i := w.random.IntN(len(w.replicas))
	old := w.replicas[i]
	fresh, err := w.addReplica()
	if err != nil {
		return
	}
	w.replicas[i] = fresh
	w.trace("%s takes the place of %s", fresh.name, old.name)
	old.end()
}

func (w *world) compactStore() {
	w.inject(faultCompaction)
	w.store.compact()
	w.dropAll()
	w.trace("the store is compacted, watches are dropped")
}

func (w *world) dropWatches() {
	w.inject(faultWatchDrop)
	w.dropAll()
	w.trace("watches are dropped")
}

// dropAll ends all connections to a server, or to all.
func (w *world) dropAll() {
	for _, s := range w.servers {
		if len(w.servers) > 1 && w.random.chance(40) {
			continue
		}
		w.mu.Lock()
		if s.up {
			close(s.stopped)
			s.stopped = make(chan struct{})
		}
		w.mu.Unlock()
	}
}

func (w *world) lagBehind() {
	w.inject(faultLag)
	s, lag := pick(w.random, w.servers), w.random.between(50*time.Millisecond, 10*time.Second)
	w.mu.Lock()
	s.lag = lag
	w.mu.Unlock()
	w.trace("the watch cache of %s is %s behind", s, lag)
	w.after(w.random.between(time.Second, 20*time.Second), func() {
		w.mu.Lock()
		s.lag = 0
		w.mu.Unlock()
		w.wakeWatches()
	})
}

func (w *world) backUp() {
	b := w.store.backup()
	w.mu.Lock()
	w.saved = b
	w.mu.Unlock()
	w.trace("etcd is backed up at version %d", b.version)
}

// restoreBackup brings etcd back to what it was, with versions bumped as etcd's
// documentation says, or without: all API servers restart.
func (w *world) restoreBackup() {
	w.mu.Lock()
	saved := w.saved
	w.mu.Unlock()
	if saved == nil {
		return
	}
	bumped := w.random.chance(70)
	w.inject(map[bool]faultKind{true: faultRestore, false: faultRestoreUnbumped}[bumped])
	down := w.random.between(10*time.Millisecond, 3*time.Second)
	for _, s := range w.servers {
		w.goDown(s)
	}
	w.after(down, func() {
		for _, s := range w.servers { // one may have come up meanwhile, for new keys
			w.goDown(s)
		}
		w.store.restore(saved, bumped)
		w.trace("etcd is restored to version %d, bumped=%t", saved.version, bumped)
		for _, s := range w.servers {
			w.goUp(s)
		}
	})
}
