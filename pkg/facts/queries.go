package facts

import "slices"

// Queries gathers queries, one for each object: what is asked of it adds up.
type Queries struct {
	// Asker is that of all queries.
	Asker  string
	List   []Query
	places map[Object]int          // once there are many
	keys   map[int]map[string]bool // of a query in the list, once it has many
}

// manyQueries is from when on a map is faster than a look at each.
const manyQueries = 16

// Ask adds a query. It ignores one that names nothing: no object could answer it.
func (q *Queries) Ask(query Query) {
	if query.Name == "" && query.SignerName == "" {
		return
	}
	if q.Asker != "" {
		query.Asker = q.Asker
	}
	if i := q.place(&query.Object); i >= 0 {
		known := &q.List[i]
		q.addKeys(i, query.Keys)
		known.Contents, known.Fresh = known.Contents || query.Contents, known.Fresh || query.Fresh
		known.Generation = max(known.Generation, query.Generation)
		known.IfIndexed = known.IfIndexed && query.IfIndexed
		return
	}
	q.List = append(q.List, query)
	if q.places != nil {
		q.places[query.Object] = len(q.List) - 1
	}
}

// addKeys adds keys to a query. It never writes into the keys that a caller gave.
func (q *Queries) addKeys(i int, more []string) {
	known := &q.List[i]
	seen := q.keys[i]
	if seen == nil {
		if len(known.Keys)+len(more) < manyQueries {
			known.Keys = union(known.Keys, more)
			return
		}
		if q.keys == nil {
			q.keys = map[int]map[string]bool{}
		}
		seen = make(map[string]bool, 2*manyQueries)
		q.keys[i], known.Keys = seen, slices.Clone(known.Keys)
		for _, k := range known.Keys {
			seen[k] = true
		}
	}
	for _, k := range more {
		if !seen[k] {
			seen[k], known.Keys = true, append(known.Keys, k)
		}
	}
}

func (q *Queries) place(o *Object) int {
	if len(q.List) < manyQueries {
		return slices.IndexFunc(q.List, func(known Query) bool { return known.Object == *o })
	}
	if q.places == nil {
		q.places = make(map[Object]int, 4*manyQueries)
		for i := range q.List {
			q.places[q.List[i].Object] = i
		}
	}
	if i, ok := q.places[*o]; ok {
		return i
	}
	return -1
}

// union returns the keys of both. It never writes into its arguments.
func union(a, b []string) []string {
	if len(b) == 0 {
		return a
	}
	out := slices.Clip(a)
	for _, k := range b {
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}
