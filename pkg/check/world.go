package check

import (
	"context"
	"slices"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/facts/manifest"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
)

// Live answers from a cluster. What could not be found out is unknown.
type Live interface {
	Answer(ctx context.Context, queries []facts.Query) []facts.Fact
}

// world is all that is known: the manifests, what lies below them, and the
// cluster below that. What is above hides what is below.
type world struct {
	layers []*manifest.Cluster
	live   Live // nil for none
	// namespaces that the cluster was asked for.
	read map[facts.Object]facts.Fact
	// provided is what was found to be made by something known.
	provided []report.Provided
}

// gather answers what one judgement needs, and notes what is provided.
func (w *world) gather(ctx context.Context, needs func(*facts.Set) []facts.Query) *facts.Set {
	var asked []facts.Object
	set := facts.Collect(needs, func(queries []facts.Query, set *facts.Set) {
		var live []facts.Query
		for i := range queries {
			asked = append(asked, queries[i].Object)
			if f, told := w.written(&queries[i]); told || w.live == nil {
				set.Put(queries[i].Object, f)
			} else {
				live = append(live, queries[i])
			}
		}
		for i, f := range w.ask(ctx, live) {
			set.Put(live[i].Object, f)
		}
	})
	w.note(asked, set)
	return set
}

// written answers from the first layer that speaks of the object; from the last
// one, what is implied, if none does.
func (w *world) written(q *facts.Query) (f facts.Fact, told bool) {
	for _, layer := range w.layers {
		if f, told = layer.Answer(q); told {
			return f, true
		}
	}
	return f, false
}

// ask answers from the cluster. What every namespace has is implied of one that
// the cluster does not have yet.
func (w *world) ask(ctx context.Context, queries []facts.Query) []facts.Fact {
	if len(queries) == 0 {
		return nil
	}
	answers := w.live.Answer(ctx, queries)
	for i := range queries {
		if answers[i].State != facts.Absent {
			continue
		}
		implied, _ := w.written(&queries[i])
		if implied.State == facts.Present && w.unborn(ctx, &queries[i]) {
			answers[i] = implied
		}
	}
	return answers
}

func (w *world) unborn(ctx context.Context, q *facts.Query) bool {
	if q.Kind == facts.Namespace {
		return true
	}
	namespace := facts.Object{Kind: facts.Namespace, Name: q.Namespace}
	if known, ok := w.read[namespace]; ok {
		return known.State == facts.Absent
	}
	f := w.live.Answer(ctx, []facts.Query{{Object: namespace}})[0]
	if w.read == nil {
		w.read = map[facts.Object]facts.Fact{}
	}
	w.read[namespace] = f
	return f.State == facts.Absent
}

// note notes what was asked for and is made by something known: what a manifest
// makes, and what the Secrets Store CSI driver makes of a class.
func (w *world) note(asked []facts.Object, set *facts.Set) {
	for _, o := range asked {
		f := set.Get(o)
		if f.Provided != "" {
			w.provided = append(w.provided, report.Provided{Object: o.String(), By: f.Provided})
		}
		if o.Kind != reference.SecretProviderClass || f.State != facts.Present {
			continue
		}
		for _, secret := range asked {
			if secret.Kind == reference.Secret && secret.Namespace == o.Namespace && slices.Contains(f.Names, secret.Name) &&
				set.Get(secret).State != facts.Present {
				w.provided = append(w.provided, report.Provided{Object: secret.String(), By: o.String()})
			}
		}
	}
}
