package survey

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/rollup"
)

// pass visits all templates and pods, judges them, and gathers what the report
// says of them.
type pass struct {
	*Survey
	lister   *listing.Lister
	verifier *verifier
	judge    *judge
	owners   *rollup.Owners

	rollup          rollup.Rollup
	uses            *tokenUses
	tokenless       *tokenless
	stuck           []stuckPod
	pods, templates int
	// listed is set once pods or workloads of a kind could be listed.
	listed bool
	// refused could not be listed.
	refused []listing.Refusal
}

func (s *Survey) newPass(v *verifier) *pass {
	lister := listing.NewLister(v.client, s.Templates)
	return &pass{
		Survey: s, lister: lister, verifier: v,
		judge:  newJudge(evaluate.Evaluator{Snapshot: s.Snapshot, Now: s.Now}, v),
		owners: rollup.NewOwners(lister.Controller), rollup: rollup.Rollup{},
		uses: newTokenUses(v.listing), tokenless: newTokenless(v.listing),
	}
}

func (p *pass) run(ctx context.Context) error {
	err := p.lister.EachTemplate(ctx, p.Namespace, func(page []listing.Item) error { return p.visitTemplates(ctx, page) }, p.ended)
	if err != nil {
		return err
	}
	err = p.lister.EachPod(ctx, p.Namespace, func(page []listing.Item) error { return p.visitPods(ctx, page) })
	if err := p.ended("pods", err); err != nil {
		return err
	}
	if !p.listed { // nothing was found because nothing was looked at
		var last error
		if n := len(p.refused); n > 0 {
			last = p.refused[n-1].Err
		}
		return fmt.Errorf("neither pods nor workloads may be listed, so that there is nothing to judge: grant the right to list them, or choose a namespace with --namespace: %w", last)
	}
	return nil
}

// ended notes how the list of a resource ended.
func (p *pass) ended(resource string, err error) error {
	p.listed = p.listed || err == nil
	refused, err := tolerate(resource, err)
	p.refused = append(p.refused, refused...)
	return err
}

func (p *pass) visitTemplates(ctx context.Context, page []listing.Item) error {
	for i := range page {
		p.owners.Add(&page[i])
	}
	err := p.visit(ctx, page, func(item *listing.Item, top report.Ref, result *evaluate.Result) {
		p.templates++
		p.rollup.Add(top, item, result, false)
	})
	p.Progress("workloads", p.templates)
	return err
}

func (p *pass) visitPods(ctx context.Context, page []listing.Item) error {
	err := p.visit(ctx, page, func(item *listing.Item, top report.Ref, result *evaluate.Result) {
		p.pods++
		reason, since := rollup.Stuck(item.Pod.Pod, p.Now)
		if reason != "" {
			p.stuck = append(p.stuck, stuckPod{pod: rollup.Ref(item), workload: top, reason: reason, since: since, findings: result.Findings})
		}
		p.rollup.Add(top, item, result, reason != "")
		p.uses.visit(item, top, reference.OfPod("", &item.Pod.Spec))
		p.tokenless.visit(item, top)
	})
	p.Progress("pods", p.pods)
	return err
}

// visit judges those of a page that are selected, and visits those of them that
// were not passed over.
func (p *pass) visit(ctx context.Context, page []listing.Item, visit func(*listing.Item, report.Ref, *evaluate.Result)) error {
	page = slices.DeleteFunc(page, func(item listing.Item) bool {
		return item.Pod == nil || (p.Selector != nil && !p.Selector.Matches(labels.Set(item.Meta.GetLabels())))
	})
	results, err := p.judge.judgePage(ctx, page)
	if err != nil {
		return err
	}
	for i := range page {
		if item := &page[i]; results[i].Passed == "" {
			visit(item, p.owners.Top(ctx, rollup.Ref(item), item.Controller()), &results[i])
		}
	}
	return nil
}

// explain fills in those parts of the report for which more is read, and returns
// what could not be.
func (p *pass) explain(ctx context.Context, out *report.Audit) (refused []listing.Refusal, err error) {
	if out.Tokens, err = p.uses.report(ctx, p.verifier); err != nil {
		return nil, err
	}
	if out.Dead, err = deadSecrets(ctx, p.verifier, &p.uses.users, p.owners); err != nil {
		return nil, err
	}
	var more []listing.Refusal
	if out.Stuck, more, err = explainStuck(ctx, p.lister.Core, p.Namespace, p.stuck); err != nil {
		return nil, err
	}
	refused = append(refused, more...)
	if out.Accounts, more, err = accounts(ctx, p.lister.Core.RbacV1().RESTClient(), p.uses.accounts); err != nil {
		return nil, err
	}
	return append(refused, more...), nil
}
