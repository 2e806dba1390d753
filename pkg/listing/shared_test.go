package listing

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenward.dev/tokenward/pkg/usage"
)

func TestRequestsShareALookThatStartsAfterThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var started []time.Time
		s := NewSharedUsers(func(context.Context, string, bool) *usage.Users {
			mu.Lock()
			started = append(started, time.Now())
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			return &usage.Users{}
		})
		ask := func(n int, group *sync.WaitGroup) {
			for range n {
				group.Go(func() {
					if found := s.Find(t.Context(), "shop", false); len(found.Unread) > 0 {
						t.Errorf("got %v", found.Unread)
					}
				})
			}
		}
		var group sync.WaitGroup
		ask(100, &group)
		time.Sleep(50 * time.Millisecond) // the first look is under way
		later := time.Now()
		ask(100, &group)
		group.Wait()
		if len(started) != 2 || started[1].Before(later) {
			t.Errorf("got looks at %v, want one for each hundred", started)
		}
		if len(s.waiting)+len(s.running) > 0 {
			t.Error("looks are remembered")
		}
	})
}

func TestALookThatTakesTooLongIsUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := NewSharedUsers(func(context.Context, string, bool) *usage.Users {
			<-release
			return &usage.Users{}
		})
		start := time.Now()
		if found := s.Find(t.Context(), "shop", false); len(found.Unread) != 1 {
			t.Errorf("got %v", found.Unread)
		}
		if took := time.Since(start); took != lookPatient {
			t.Errorf("it took %s", took)
		}
		close(release)
		synctest.Wait()
	})
}
