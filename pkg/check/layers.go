package check

import (
	"context"
	"maps"
	"slices"
	"time"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/facts/manifest"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/source"
)

// layers answer queries: the manifests first, then what is said to exist besides,
// then a live cluster, where there is one.
type layers struct {
	manifests []*manifest.Cluster
	reader    source.Reader
	// provided is what was found to be made by something known.
	provided map[report.Provided]bool
}

func newLayers(live source.Reader, manifests ...*manifest.Cluster) *layers {
	l := &layers{manifests: manifests, provided: map[report.Provided]bool{}}
	if live != nil {
		l.reader = &liveLayer{reader: live, namespaces: map[facts.Object]facts.State{}}
	}
	return l
}

// gather answers what the judgement of an object of a file needs, and notes what
// something known will make.
func (l *layers) gather(ctx context.Context, now time.Time, file, user string, needs func(*facts.Set) []facts.Query) *facts.Set {
	stack := &source.Stack{Reader: l.reader}
	for _, m := range l.manifests {
		stack.Stores = append(stack.Stores, m.View(file, user))
	}
	var asked []facts.Object
	known := map[facts.Object]bool{}
	set := stack.Gather(ctx, now, func(set *facts.Set) []facts.Query {
		queries := needs(set)
		for i := range queries {
			if !known[queries[i].Object] {
				known[queries[i].Object] = true
				asked = append(asked, queries[i].Object)
			}
		}
		return queries
	})
	l.note(asked, set)
	return set
}

// list returns what was noted.
func (l *layers) list() []report.Provided { return slices.Collect(maps.Keys(l.provided)) }

// liveLayer asks a cluster for what no manifest speaks of.
type liveLayer struct {
	reader source.Reader
	// namespaces that the cluster was asked for.
	namespaces map[facts.Object]facts.State
}

// Read implements source.Reader. In a namespace that the cluster does not have yet
// there will be what every namespace has.
func (l *liveLayer) Read(ctx context.Context, now time.Time, queries []facts.Query, implied []facts.Fact) []facts.Fact {
	answers := l.reader.Read(ctx, now, queries, implied)
	for i := range queries {
		if answers[i].State != facts.Absent || implied[i].State != facts.Present {
			continue
		}
		if implied[i].Provided != "" || l.isNew(ctx, now, &queries[i]) {
			answers[i] = implied[i]
		}
	}
	return answers
}

// isNew reports whether the cluster lacks the namespace that a query is about.
func (l *liveLayer) isNew(ctx context.Context, now time.Time, q *facts.Query) bool {
	if q.Kind == facts.Namespace {
		return true
	}
	namespace := facts.Object{Kind: facts.Namespace, Name: q.Namespace}
	state, known := l.namespaces[namespace]
	if !known {
		state = l.reader.Read(ctx, now, []facts.Query{{Object: namespace}}, make([]facts.Fact, 1))[0].State
		l.namespaces[namespace] = state
	}
	return state == facts.Absent
}

// note notes the objects that were asked for and are missing so far, while
// something known makes them.
func (l *layers) note(asked []facts.Object, set *facts.Set) {
	for _, o := range asked {
		f := set.Get(o)
		if f.Provided != "" {
			l.provided[report.Provided{Object: refOf(o), By: f.Provided, Likely: f.Likely}] = true
		}
		if o.Kind != reference.SecretProviderClass || f.State != facts.Present {
			continue
		}
		for _, secret := range asked {
			if secret.Kind == reference.Secret && secret.Namespace == o.Namespace && slices.Contains(f.Names, secret.Name) &&
				set.Get(secret).State != facts.Present {
				l.provided[report.Provided{Object: refOf(secret), By: o.String()}] = true
			}
		}
	}
}

func refOf(o facts.Object) report.About {
	return report.About{Kind: string(o.Kind), Namespace: o.Namespace, Name: o.Name, SignerName: o.SignerName}
}
