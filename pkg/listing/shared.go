package listing

import (
	"context"
	"sync"
	"time"

	"tokenward.dev/tokenward/pkg/usage"
)

// SharedUsers looks at one namespace for many who ask at a time. It gives what a look
// found that started after each of them arrived, so that nothing is remembered. The
// zero value is not ready: use NewSharedUsers.
type SharedUsers struct {
	look  func(ctx context.Context, namespace string, whole bool) *usage.Users
	slots chan struct{} // one for each look that is under way

	mu      sync.Mutex
	waiting map[lookKey]*sharedLook // that have not started
	running map[lookKey]*sharedLook // the last that has
}

// What looks may take, and how many run at a time. Who asks within lookWindow of the
// first shares a look.
const (
	lookWindow  = 10 * time.Millisecond
	lookTimeout = 800 * time.Millisecond
	lookPatient = time.Second
	maxLooks    = 3
)

type lookKey struct {
	namespace string
	whole     bool
}

type sharedLook struct {
	done  chan struct{}
	found *usage.Users // once done is closed
}

// NewSharedUsers returns SharedUsers that look by Lister.Users, or like it.
func NewSharedUsers(look func(ctx context.Context, namespace string, whole bool) *usage.Users) *SharedUsers {
	return &SharedUsers{
		look: look, slots: make(chan struct{}, maxLooks), waiting: map[lookKey]*sharedLook{}, running: map[lookKey]*sharedLook{},
	}
}

// Find returns who uses what in a namespace, by a look that starts now or later. It
// takes a second at most; what it has not found by then is unread.
func (s *SharedUsers) Find(ctx context.Context, namespace string, whole bool) *usage.Users {
	patience := time.NewTimer(lookPatient)
	defer patience.Stop()
	look := s.join(lookKey{namespace, whole})
	select {
	case <-look.done:
		return look.found
	case <-patience.C:
	case <-ctx.Done():
	}
	return timedOut()
}

func timedOut() *usage.Users { return &usage.Users{Unread: []string{"pods and templates: time-out"}} }

// join returns the next look at a namespace. Those of one namespace run one after
// the other, so that all who ask meanwhile share the next.
func (s *SharedUsers) join(key lookKey) *sharedLook {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next := s.waiting[key]; next != nil {
		return next
	}
	next := &sharedLook{done: make(chan struct{})}
	s.waiting[key] = next
	before := s.running[key]
	go s.run(key, next, before)
	return next
}

func (s *SharedUsers) run(key lookKey, look, before *sharedLook) {
	patience, stop := context.WithTimeout(context.Background(), lookPatient) // of who asked first
	defer stop()
	time.Sleep(lookWindow)
	if before != nil {
		<-before.done
	}
	s.slots <- struct{}{}
	s.mu.Lock()
	delete(s.waiting, key)
	s.running[key] = look
	s.mu.Unlock()
	if look.found = timedOut(); patience.Err() == nil {
		// Others may wait for the same look: the end of one request must not end it.
		ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
		look.found = s.look(ctx, key.namespace, key.whole)
		cancel()
	}
	<-s.slots
	s.mu.Lock()
	if s.running[key] == look {
		delete(s.running, key)
	}
	s.mu.Unlock()
	close(look.done)
}
