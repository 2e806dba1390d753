package check

import (
	"context"
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
	source.Stack
	// provided is what was found to be made by something known.
	provided []report.Provided
}

func newLayers(live source.Reader, manifests ...*manifest.Cluster) *layers {
	l := &layers{}
	for _, m := range manifests {
		l.Stores = append(l.Stores, m)
	}
	if live != nil {
		l.Reader = &liveLayer{reader: live, namespaces: map[facts.Object]facts.State{}}
	}
	return l
}

// gather answers what a judgement needs, and notes what something known will make.
func (l *layers) gather(ctx context.Context, now time.Time, needs func(*facts.Set) []facts.Query) *facts.Set {
	var asked []facts.Object
	set := l.Gather(ctx, now, func(set *facts.Set) []facts.Query {
		queries := needs(set)
		for i := range queries {
			if !slices.Contains(asked, queries[i].Object) {
				asked = append(asked, queries[i].Object)
			}
		}
		return queries
	})
	l.note(asked, set)
	return set
}

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
		if answers[i].State == facts.Absent && implied[i].State == facts.Present && l.isNew(ctx, now, &queries[i]) {
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
			l.provided = append(l.provided, report.Provided{Object: o.String(), By: f.Provided})
		}
		if o.Kind != reference.SecretProviderClass || f.State != facts.Present {
			continue
		}
		for _, secret := range asked {
			if secret.Kind == reference.Secret && secret.Namespace == o.Namespace && slices.Contains(f.Names, secret.Name) &&
				set.Get(secret).State != facts.Present {
				l.provided = append(l.provided, report.Provided{Object: secret.String(), By: o.String()})
			}
		}
	}
}
