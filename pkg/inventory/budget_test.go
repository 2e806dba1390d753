package inventory

import (
	"context"
	"sync"
	"testing"
	"time"
)

func TestBudgetIsNeverExceededAndAllIsGivenBack(t *testing.T) {
	b := newBudget(10)
	var mu sync.Mutex
	var group sync.WaitGroup
	used, most := 0, 0
	for i := range 500 {
		ns := string(rune('a' + i%7))
		group.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%5)*10*time.Millisecond)
			defer cancel()
			if b.acquire(ctx, ns) != nil {
				return
			}
			defer b.release(ns)
			mu.Lock()
			used++
			most = max(most, used)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			used--
			mu.Unlock()
		})
	}
	group.Wait()
	if most > 10 || b.used != 0 || len(b.shares) != 0 || len(b.turns) != 0 {
		t.Errorf("at most %d at a time; left: %+v", most, b)
	}
}

func TestANamespaceThatFloodsLeavesPlacesToOthers(t *testing.T) {
	b := newBudget(8)
	flooding, stop := context.WithCancel(t.Context())
	defer stop()
	for range 100 {
		go func() { _ = b.acquire(flooding, "flood") }()
	}
	waitFor(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		s := b.shares["flood"]
		return s != nil && len(s.waiters) > 50
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for _, other := range []string{"a", "b"} {
		if err := b.acquire(ctx, other); err != nil {
			t.Errorf("%s: %v", other, err)
		}
	}
}

func TestWaitersAreServedInTurn(t *testing.T) {
	b := newBudget(1)
	if err := b.acquire(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	order := make(chan string, 3)
	wait := func(ns string) {
		go func() {
			if b.acquire(t.Context(), ns) == nil {
				order <- ns
			}
		}()
		waitFor(t, func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			n := 0
			for _, s := range b.shares {
				n += len(s.waiters)
			}
			return n == map[string]int{"a": 1, "b": 2}[ns]
		})
	}
	wait("a")
	wait("b")
	b.release("a")
	first := <-order
	b.release(first)
	second := <-order
	b.release(second)
	if first == second || b.used != 0 {
		t.Errorf("served %s, then %s; %d in use", first, second, b.used)
	}
}
