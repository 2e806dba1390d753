package facts

// Set holds the facts of one review. The zero value is empty and ready to use.
type Set struct {
	facts map[Object]Fact
	full  bool // there were more objects than a review may ask about
}

// maxObjects bounds about how many objects one review may ask. A pod has some ten;
// who lists thousands wants to make us work.
const maxObjects = 1000

// Get returns the fact about an object; one that nobody asked for is the zero Fact.
// What is beyond the bound of a review is unknown.
func (s *Set) Get(o Object) Fact {
	f, ok := s.facts[o]
	if !ok && s.full {
		return Fact{Why: TooManyReferences}
	}
	return f
}

// IsBeyond reports whether an object is beyond the bound of a review.
func (s *Set) IsBeyond(o Object) bool {
	if !s.full {
		return false
	}
	_, ok := s.facts[o]
	return !ok
}

// Put records a fact. A later answer about the same object replaces the
// earlier one, but for keys, which add up.
func (s *Set) Put(o Object, f Fact) {
	if s.facts == nil {
		s.facts = make(map[Object]Fact, 8)
	}
	for k, v := range s.facts[o].Keys {
		if _, ok := f.Keys[k]; !ok && f.State == Present {
			if f.Keys == nil {
				f.Keys = map[string]State{}
			}
			f.Keys[k] = v
		}
	}
	s.facts[o] = f
}

// maxRounds bounds Collect. The longest chain of questions has five links
// (namespace, Secret, what its token names, all of that afresh, and what a
// fresher token names).
const maxRounds = 8

// Collect asks until nothing more is needed. needs names the queries that the
// judgement has, given what is known so far; answer puts one fact for each
// query into the set. What answer leaves out is put down as unknown, so that
// Collect ends.
func Collect(needs func(*Set) []Query, answer func([]Query, *Set)) *Set {
	set := &Set{}
	for range maxRounds {
		open := set.Open(needs(set))
		if len(open) == 0 {
			break
		}
		answer(open, set)
		for i := range open {
			if f := set.Get(open[i].Object); !f.Settles(&open[i]) {
				set.fail(&open[i], f)
			}
		}
	}
	return set
}

// fail puts down as unknown what an answer left out.
func (s *Set) fail(q *Query, f Fact) {
	if f.State != Present {
		s.Put(q.Object, Fact{Why: Failed})
		return
	}
	if (q.Contents && !f.Contents) || (q.Fresh && !f.Fresh) || f.Generation < q.Generation {
		s.Put(q.Object, Fact{Why: Failed})
		return
	}
	keys := make(map[string]State, len(q.Keys))
	for _, k := range q.Keys {
		keys[k] = f.Keys[k]
	}
	f.Keys = keys
	s.Put(q.Object, f)
}

// Open returns the queries that the set does not settle, one for each object. Those
// about objects beyond the bound of a review are settled: as unknown.
func (s *Set) Open(queries []Query) []Query {
	var open Queries
	fresh := 0 // objects that were not asked about before
	for i := range queries {
		q := &queries[i]
		if f, ok := s.facts[q.Object]; ok {
			if f.Settles(q) {
				continue
			}
			// The next answer takes the place of this one: it must tell no less.
			q.Contents, q.Fresh = q.Contents || f.Contents, q.Fresh || f.Fresh
			q.Generation = max(q.Generation, f.Generation)
		} else if open.place(&q.Object) < 0 {
			if len(s.facts)+fresh >= maxObjects {
				s.full = true
				continue
			}
			fresh++
		}
		open.Ask(*q)
	}
	return open.List
}
