package hold

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/source"
)

// absentFor is how long an object that was read and is absent stays so without
// another read, unless a watch tells of it.
const absentFor = resync - tick

// answers answers the queries of judgements. What was read is read once for all pods
// that wait for it.
type answers struct {
	store  source.Store
	source source.Source
	now    func() time.Time

	mu    sync.Mutex
	known map[facts.Object]map[string]answer // by object and by what was asked of it
}

type answer struct {
	fact  facts.Fact
	began time.Time // when the read began
}

func newAnswers(store source.Store, from source.Source, now func() time.Time) *answers {
	return &answers{store: store, source: from, now: now, known: map[facts.Object]map[string]answer{}}
}

// gather answers a judgement by what is true since something changed.
func (a *answers) gather(ctx context.Context, since time.Time, asked func(facts.Object), needs func(*facts.Set) []facts.Query) *facts.Set {
	return facts.Collect(needs, func(queries []facts.Query, set *facts.Set) {
		var open []facts.Query
		now := a.now()
		for i := range queries {
			q := &queries[i]
			asked(q.Object) // first: what changes from here on is told
			f, sure := a.store.Lookup(q, now)
			if !sure {
				f, sure = a.recall(q, since, now, f.State)
			}
			if sure {
				set.Put(q.Object, f)
			} else {
				open = append(open, *q)
			}
		}
		if len(open) == 0 {
			return
		}
		found := a.source.Gather(ctx, now, func(*facts.Set) []facts.Query { return open })
		for i := range open {
			f := found.Get(open[i].Object)
			a.keep(&open[i], f, now)
			set.Put(open[i].Object, f)
		}
	})
}

// recall returns what was read before, if that still counts.
func (a *answers) recall(q *facts.Query, since, now time.Time, indexed facts.State) (facts.Fact, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k, ok := a.known[q.Object][keyOf(q)]
	if !ok {
		return facts.Fact{}, false
	}
	gone := k.fact.State == facts.Absent && indexed != facts.Present && now.Sub(k.began) < absentFor
	return k.fact, gone || !k.began.Before(since)
}

func (a *answers) keep(q *facts.Query, f facts.Fact, began time.Time) {
	if f.State == facts.Unknown {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[q.Object] == nil {
		a.known[q.Object] = map[string]answer{}
	}
	a.known[q.Object][keyOf(q)] = answer{fact: f, began: began}
}

// forget forgets what was read of an object that has changed.
func (a *answers) forget(o facts.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o.Name != "" || o.SignerName != "" {
		delete(a.known, o)
		return
	}
	maps.DeleteFunc(a.known, func(known facts.Object, _ map[string]answer) bool { return covers(&o, &known) })
}

// covers reports whether an object without a name stands for another, too.
func covers(all, one *facts.Object) bool {
	return all.Kind == one.Kind && (all.Namespace == "" || all.Namespace == one.Namespace)
}

// prune forgets what nobody asks for any more.
func (a *answers) prune(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.known, func(_ facts.Object, all map[string]answer) bool {
		maps.DeleteFunc(all, func(_ string, k answer) bool { return now.Sub(k.began) > 2*resync })
		return len(all) == 0
	})
}

func keyOf(q *facts.Query) string {
	return fmt.Sprintf("%t %t %d\n%s", q.Contents, q.Fresh, q.Generation, strings.Join(q.Keys, "\n"))
}

func cmpObjects(a, b *facts.Object) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.SignerName, b.SignerName), cmp.Compare(a.Labels, b.Labels))
}
