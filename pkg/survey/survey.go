// Package survey is one pass over a cluster from outside: it lists everything
// once, by pages, judges it against what the lists brought, and returns a report.
// A live read confirms a fault before it is reported.
//
// It may import packages rollup, listing, evaluate, report, policy, cluster, trust,
// facts, reference, token, workload and metrics, and nothing else of ours.
package survey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/trust"
	"tokenward.dev/tokenward/pkg/workload"
)

// Survey says what is looked at, and by what it is judged.
type Survey struct {
	Config    *rest.Config
	Templates workload.Templates
	Snapshot  *policy.Snapshot
	// Namespace to look at; all if empty. Selector selects pods and workloads by
	// their labels; all if nil.
	Namespace string
	Selector  labels.Selector
	// Keys are given besides those that the API server publishes.
	Keys trust.Options
	Now  time.Time
	// Progress gets how many objects of a kind have been read.
	Progress func(what string, n int)
}

// Run makes the survey. It fails only where nothing can be said; what the caller
// has no right to see is named in the report.
func (s *Survey) Run(ctx context.Context) (*report.Audit, error) {
	s.Keys.Settle = settle
	follower, err := trust.New(s.Config, s.Keys, metrics.New(), logr.Discard())
	if err != nil {
		return nil, err
	}
	reducer := cluster.Reducer{Trust: follower}
	client, err := cluster.NewClient(s.Config, reducer)
	if err != nil {
		return nil, err
	}
	refused, err := settleKeys(ctx, follower)
	if err != nil {
		return nil, err
	}
	if len(s.Keys.Keys) > 0 {
		refused = nil // those that were given are enough
	}
	v := &verifier{client: client, listing: listing.New(), trust: follower, now: s.Now}
	embedded := newEmbedded(v)
	loaded, err := listing.NewLister(client, s.Templates).Load(ctx, &listing.LoadOptions{
		Into: v.listing, Reducer: &reducer, Namespace: s.Namespace, Value: embedded.visit, Progress: s.Progress,
	})
	if err != nil {
		return nil, fmt.Errorf("the cluster could not be read: %w", err)
	}
	// The keys that tokens have shown meanwhile are looked for, too.
	if _, err := settleKeys(ctx, follower); err != nil {
		return nil, err
	}
	p := s.newPass(v)
	if err := p.run(ctx); err != nil {
		return nil, err
	}
	out := &report.Audit{
		Time: s.Now.UTC().Truncate(time.Second), Namespace: s.Namespace,
		Judged: report.Judged{
			Pods: p.pods, Templates: p.templates, Policies: s.Snapshot.Policies(),
			Secrets: loaded.Secrets, ConfigMaps: loaded.ConfigMaps, Accounts: loaded.Accounts,
		},
		Workloads: p.rollup.Report(), Tokenless: p.tokenless.report(),
	}
	if out.Embedded, err = embedded.report(ctx); err != nil {
		return nil, err
	}
	more, err := p.explain(ctx, out)
	if err != nil {
		return nil, err
	}
	out.Incomplete = incomplete(slices.Concat(refused, loaded.Refused, p.refused, more))
	out.Sort()
	return out, nil
}

// incomplete returns the texts on what could not be read, each once.
func incomplete(refused []listing.Refusal) []string {
	var texts []string
	for _, r := range refused {
		text := r.What + " could not be read"
		if r.Err != nil {
			text += ": " + r.Err.Error()
		}
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts
}

// tolerate turns the lack of a right into a refusal. That a kind is not served is
// no error, and any other error stays one.
func tolerate(what string, err error) ([]listing.Refusal, error) {
	switch cluster.WhyNot(err) {
	case facts.Forbidden:
		return []listing.Refusal{{What: what, Err: err}}, nil
	case facts.NoReason, facts.NotServed:
		return nil, nil
	default:
		return nil, fmt.Errorf("%s: %w", what, err)
	}
}

// settle is over what time the looks at the keys are spread. Each is over a
// connection of its own: behind a load balancer another API server may answer, and
// while keys are rolled out it accepts others. Only a key that none shows is gone.
const settle = time.Second

// settleKeys looks at the keys. Without them tokens are unknown, which is told.
func settleKeys(ctx context.Context, follower *trust.Follower) ([]listing.Refusal, error) {
	limited, cancel := context.WithTimeout(ctx, 3*settle)
	defer cancel()
	if err := follower.Settle(limited); err != nil {
		if cluster.WhyNot(err) == facts.Forbidden {
			err = errors.New("it is forbidden: bind the ClusterRole system:service-account-issuer-discovery, or give the keys with --service-account-key-file")
		}
		return []listing.Refusal{{What: "the keys that tokens are signed by", Err: err}}, ctx.Err()
	}
	return nil, nil
}
