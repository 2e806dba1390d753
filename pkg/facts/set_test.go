package facts

import (
	"fmt"
	"testing"

	"tokenward.dev/tokenward/pkg/reference"
)

func secrets(n int) []Query {
	queries := make([]Query, n)
	for i := range queries {
		queries[i] = Query{Object: Object{Kind: reference.Secret, Namespace: "shop", Name: fmt.Sprint("s-", i)}}
	}
	return queries
}

func collect(queries []Query) (set *Set, answered int) {
	set = Collect(func(*Set) []Query { return queries }, func(open []Query, set *Set) {
		for i := range open {
			answered++
			set.Put(open[i].Object, Fact{State: Absent})
		}
	})
	return set, answered
}

func TestAReviewAsksAboutABoundedNumberOfObjects(t *testing.T) {
	set, answered := collect(secrets(10 * maxObjects))
	if answered != maxObjects {
		t.Errorf("%d objects were asked about, want %d", answered, maxObjects)
	}
	for i, q := range secrets(10 * maxObjects) {
		f, beyond := set.Get(q.Object), i >= maxObjects
		if set.IsBeyond(q.Object) != beyond || (f.Why == TooManyReferences) != beyond || !f.Asked() {
			t.Fatalf("object %d: %+v, beyond %t", i, f, set.IsBeyond(q.Object))
		}
	}
}

func TestOneObjectCountsOnceHoweverOftenItIsAskedFor(t *testing.T) {
	queries := secrets(maxObjects)
	for range 3 {
		queries = append(queries, queries...)
	}
	set, answered := collect(queries)
	if last := queries[len(queries)-1].Object; answered != maxObjects || set.IsBeyond(last) {
		t.Errorf("%d answered; beyond %t", answered, set.IsBeyond(last))
	}
}
