package inventory

import (
	"context"
	"slices"
	"sync"
)

// budget bounds how many reads are under way at a time. Each namespace has a
// fair share: one that floods the budget leaves the others' look-ups alone.
type budget struct {
	mu     sync.Mutex
	total  int
	used   int
	shares map[string]*share
	turns  []string // namespaces with waiters, in the order in which they are served
}

type share struct {
	used    int
	waiters []chan struct{}
}

func newBudget(total int) *budget { return &budget{total: total, shares: map[string]*share{}} }

// acquire waits for a place until the context ends. Every place must be released.
func (b *budget) acquire(ctx context.Context, namespace string) error {
	b.mu.Lock()
	s := b.shares[namespace]
	if s == nil {
		s = &share{}
		b.shares[namespace] = s
	}
	if len(s.waiters) == 0 && b.mayTake(s) {
		s.used++
		b.used++
		b.mu.Unlock()
		return nil
	}
	granted := make(chan struct{})
	s.waiters = append(s.waiters, granted)
	if !slices.Contains(b.turns, namespace) {
		b.turns = append(b.turns, namespace)
	}
	b.mu.Unlock()
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(s.waiters, granted); i >= 0 {
		s.waiters = slices.Delete(s.waiters, i, i+1)
		b.tidy(namespace, s)
		return ctx.Err()
	}
	return nil // granted at the last moment
}

// release gives a place back and serves who waits, namespaces in turn.
func (b *budget) release(namespace string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.shares[namespace]
	s.used--
	b.used--
	b.tidy(namespace, s)
	for range len(b.turns) {
		if b.used >= b.total || len(b.turns) == 0 {
			return
		}
		next := b.turns[0]
		b.turns = append(b.turns[1:], next)
		if s := b.shares[next]; len(s.waiters) > 0 && b.mayTake(s) {
			close(s.waiters[0])
			s.waiters = s.waiters[1:]
			s.used++
			b.used++
			b.tidy(next, s)
		}
	}
}

// mayTake: there is a place, and the namespace does not have its share. A share
// is what there is divided by the namespaces that want some, and one more, so
// that a newcomer always finds a place.
func (b *budget) mayTake(s *share) bool {
	return b.used < b.total && s.used < b.share()
}

// hasShare reports whether a namespace uses all that is its share.
func (b *budget) hasShare(namespace string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.shares[namespace]
	return s != nil && s.used >= b.share()
}

func (b *budget) share() int { return max(1, b.total/(len(b.shares)+1)) }

// tidy forgets namespaces that neither use nor want a place.
func (b *budget) tidy(namespace string, s *share) {
	if len(s.waiters) == 0 {
		b.turns = slices.DeleteFunc(b.turns, func(n string) bool { return n == namespace })
		if s.used == 0 {
			delete(b.shares, namespace)
		}
	}
}
