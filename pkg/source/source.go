// Package source answers the queries of a judgement: from stores, which hold what
// was learned before, and by reads for what no store can tell for sure.
//
// It imports package facts and nothing else of ours. What the stores hold, and how
// to read, is up to those who implement Store and Reader: an index, lists,
// manifests, an API server.
package source

import (
	"context"
	"time"

	"tokenward.dev/tokenward/pkg/facts"
)

// Source gives the facts that a judgement needs.
type Source interface {
	// Gather asks needs for queries and answers them until it asks for nothing
	// new. An answer may rest on a read only if the read started after the request
	// arrived. Gather returns before the context's deadline; what it could not
	// find out by then is unknown.
	Gather(ctx context.Context, arrived time.Time, needs func(*facts.Set) []facts.Query) *facts.Set
}

// Store answers queries from what it holds.
type Store interface {
	// Lookup returns what the store knows at a time. It reports false where a
	// read could tell more: then the fact is the best that the store can say.
	Lookup(q *facts.Query, now time.Time) (fact facts.Fact, sure bool)
}

// Reader answers queries by looking at the cluster itself.
type Reader interface {
	// Read returns an answer for each query, by reads that started after the
	// request arrived. known has what the stores could say to each.
	Read(ctx context.Context, arrived time.Time, queries []facts.Query, known []facts.Fact) []facts.Fact
}

// Stack is a Source of stores, of which the first that is sure answers, with a
// Reader below them for the rest. Without a Reader the last store's word counts.
type Stack struct {
	Stores []Store
	Reader Reader
}

// maxLinks bounds how many questions may lead to one another before somebody reads.
const maxLinks = 8

// Gather implements Source.
func (s *Stack) Gather(ctx context.Context, arrived time.Time, needs func(*facts.Set) []facts.Query) *facts.Set {
	return facts.Collect(func(set *facts.Set) []facts.Query {
		queries := needs(set)
		for range maxLinks {
			if !s.answer(set.Open(queries), set, arrived) {
				break
			}
			queries = needs(set)
		}
		return queries
	}, func(queries []facts.Query, set *facts.Set) {
		var open []facts.Query
		var known []facts.Fact
		for i := range queries {
			f, sure := s.Lookup(&queries[i], arrived)
			if sure || s.Reader == nil {
				set.Put(queries[i].Object, f)
				continue
			}
			open, known = append(open, queries[i]), append(known, f)
		}
		if len(open) == 0 {
			return
		}
		for i, f := range s.Reader.Read(ctx, arrived, open, known) {
			set.Put(open[i].Object, f)
		}
	})
}

// answer answers what the stores are sure of, and reports whether that was anything.
// All that is left is then read at once: what somebody adds to a review does not
// delay the read that confirms a fault.
func (s *Stack) answer(queries []facts.Query, set *facts.Set, arrived time.Time) (any bool) {
	for i := range queries {
		if f, sure := s.Lookup(&queries[i], arrived); sure {
			set.Put(queries[i].Object, f)
			any = any || f.Settles(&queries[i])
		}
	}
	return any
}

// Lookup implements Store: the first store that is sure answers.
func (s *Stack) Lookup(q *facts.Query, now time.Time) (fact facts.Fact, sure bool) {
	for _, store := range s.Stores {
		if fact, sure = store.Lookup(q, now); sure {
			return fact, true
		}
	}
	return fact, false
}

// Answer answers a judgement from one store alone.
func Answer(store Store, now time.Time, needs func(*facts.Set) []facts.Query) *facts.Set {
	return (&Stack{Stores: []Store{store}}).Gather(context.Background(), now, needs)
}
