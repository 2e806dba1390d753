package inventory

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

const (
	// maxReads bounds the live reads of one review.
	maxReads = 64
	// maxConfirming bounds beside them those that confirm what is wrong with what is
	// there: whatever else a review asks for, these are made.
	maxConfirming = 32
	// fewNames of one kind in one namespace are read one by one; for more there is one
	// list of all names.
	fewNames = 4
	// maxListed is up to how many objects, by the index, a namespace is listed.
	maxListed = 2000
	// listedByRead is how many listed objects cost as much as one read.
	listedByRead = 100
)

// reviewReader reads for one review.
type reviewReader struct {
	inventory         *Inventory
	reads, confirming atomic.Int32 // that the review has made
}

// Read implements source.Reader. What the review, or its namespace, may not read any
// more is unknown by the caller's own doing.
func (r *reviewReader) Read(ctx context.Context, arrived time.Time, queries []facts.Query, known []facts.Fact) []facts.Fact {
	answers := make([]facts.Fact, len(queries))
	if ctx.Err() != nil && r.reads.Load()+r.confirming.Load() == 0 {
		// No read took the time, but what there was to judge before the first one.
		for i := range queries {
			answers[i] = atLeast(&queries[i], facts.Fact{Why: facts.TooManyLookups}, known[i])
		}
		return answers
	}
	var group sync.WaitGroup
	read := func(i int) { // those that come first find a place first
		if q := &queries[i]; r.mayRead(q) {
			group.Go(func() { answers[i] = r.read(ctx, arrived, q) })
		} else {
			answers[i] = facts.Fact{Why: facts.TooManyLookups}
		}
	}
	missing := map[facts.Object][]int{} // by kind and namespace
	for i := range queries {
		switch q := &queries[i]; {
		case q.Fresh:
			read(i)
		case known[i].State == facts.Unknown && r.inventory.mayList(q):
			all := facts.Object{Kind: q.Kind, Namespace: q.Namespace}
			missing[all] = append(missing[all], i)
		}
	}
	listed := map[int]bool{}
	for all, places := range missing {
		if len(places) <= fewNames {
			continue
		}
		for _, i := range places {
			listed[i] = true
		}
		group.Go(func() {
			names := r.list(ctx, arrived, all, &queries[places[0]])
			for _, i := range places {
				switch q := &queries[i]; {
				case names != nil && !names[q.Name]:
					answers[i] = facts.Fact{State: facts.Absent, Fresh: true}
				case names != nil && !q.WantsContents():
					answers[i] = facts.Fact{State: facts.Present, Fresh: true}
				default:
					read(i)
				}
			}
		})
	}
	for i := range queries {
		if !queries[i].Fresh && !listed[i] {
			read(i)
		}
	}
	group.Wait()
	for i := range queries {
		answers[i] = atLeast(&queries[i], answers[i], known[i])
	}
	return answers
}

// mayList reports whether a list of names may answer a query.
func (v *Inventory) mayList(q *facts.Query) bool {
	switch q.Kind {
	case reference.Secret, reference.ConfigMap, reference.ServiceAccount:
		return v.watched[q.Kind].index.size(q.Namespace) <= maxListed
	default:
		return false
	}
}

// mayRead counts a read, and reports whether the review may make it.
func (r *reviewReader) mayRead(q *facts.Query) bool {
	if q.Fresh {
		return r.confirming.Add(1) <= maxConfirming
	}
	return r.reads.Add(1) <= maxReads
}

// read makes one read if the namespace may.
func (r *reviewReader) read(ctx context.Context, arrived time.Time, q *facts.Query) facts.Fact {
	rate := r.inventory.rate
	if q.Fresh {
		rate = r.inventory.confirmingRate
	}
	return r.inventory.reader.read(ctx, arrived, q, func(n int) bool { return rate.take(askerOf(q), n, time.Now()) })
}

// list returns the names of a kind in a namespace by a list that started after the
// request arrived; nil if that brings no answer.
func (r *reviewReader) list(ctx context.Context, arrived time.Time, all facts.Object, q *facts.Query) map[string]bool {
	if r.reads.Add(1) > maxReads {
		return nil
	}
	cost := 1 + r.inventory.watched[all.Kind].index.size(all.Namespace)/listedByRead
	a := r.inventory.reader.ask(ctx, arrived, flightKey{Object: all, asker: askerOf(q), list: true}, func() bool {
		return r.inventory.rate.take(askerOf(q), cost, time.Now())
	})
	return a.names
}

// atLeast puts what the index knows beside a read that failed: that an object
// exists stays known, and so do the labels of a Namespace, and keys that it had. What
// else it holds is not known.
func atLeast(q *facts.Query, read, known facts.Fact) facts.Fact {
	if read.State != facts.Unknown || known.State != facts.Present {
		return read
	}
	f := facts.Fact{
		State: facts.Present, Why: read.Why, Labels: known.Labels, Whole: known.Whole, Contents: q.Contents, Fresh: q.Fresh,
	}
	if len(q.Keys) > 0 {
		f.Keys = make(map[string]facts.State, len(q.Keys))
	}
	for _, k := range q.Keys {
		if f.Keys[k] = known.Keys[k]; f.Keys[k] == facts.Absent {
			f.Keys[k] = facts.Unknown
		}
	}
	return f
}
