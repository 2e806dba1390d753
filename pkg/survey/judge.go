package survey

import (
	"context"
	"maps"
	"slices"

	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/workload"
)

// judge judges by what was listed, and reads live what faults rest on.
type judge struct {
	evaluator evaluate.Evaluator
	verifier  *verifier
	siblings  *siblings // nil where a policy looks at what siblings differ in
}

func newJudge(evaluator evaluate.Evaluator, v *verifier) *judge {
	j := &judge{evaluator: evaluator, verifier: v}
	if !evaluator.Snapshot.LooksAtWholePods() {
		j.siblings = newSiblings()
	}
	return j
}

// maxRounds bounds how often a page is judged again with what was read live.
const maxRounds = 5

// judgePage judges objects, reads live whatever a fault of theirs rests on, and
// judges those once more.
func (j *judge) judgePage(ctx context.Context, page []listing.Item) ([]evaluate.Result, error) {
	results := make([]evaluate.Result, len(page))
	open := make([]int, len(page))
	for i := range page {
		open[i] = i
	}
	for round := range maxRounds {
		doubtful := map[facts.Object]bool{}
		open = slices.DeleteFunc(open, func(i int) bool {
			result, doubts := j.judgeOnce(&page[i])
			results[i] = result
			if len(result.Findings) == 0 || len(doubts) == 0 || round == maxRounds-1 {
				return true
			}
			for _, o := range doubts {
				doubtful[o] = true
			}
			return false
		})
		if len(open) == 0 {
			break
		}
		if err := j.verifier.confirm(ctx, slices.Collect(maps.Keys(doubtful))); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// judgeOnce judges by what was listed. The result of a pod without a finding is
// good for its siblings, too. Pods with one are judged each: there are few.
func (j *judge) judgeOnce(item *listing.Item) (evaluate.Result, []facts.Object) {
	if j.siblings == nil {
		return j.judgeListed(&item.Object)
	}
	likeness, ok := j.siblings.likeness(item)
	if ok {
		if result, known := j.siblings.good[likeness]; known {
			return result, nil
		}
	}
	result, doubtful := j.judgeListed(&item.Object)
	if ok && len(result.Findings) == 0 {
		j.siblings.good[likeness] = result
	}
	return result, doubtful
}

// judgeListed judges by what was listed, and returns the objects that need a live
// read before a fault is reported.
func (j *judge) judgeListed(o *workload.Object) (evaluate.Result, []facts.Object) {
	var doubtful []facts.Object
	evaluator := j.evaluator
	evaluator.Gather = func(needs func(*facts.Set) []facts.Query) (set *facts.Set) {
		set, doubtful = j.verifier.listing.Gather(needs)
		return set
	}
	return evaluator.Evaluate(o), doubtful
}
