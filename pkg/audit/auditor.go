// Package audit is the continuous auditor: it judges what runs in a cluster, all of
// it once per interval and a namespace soon after something changed there, and
// writes what it finds into reports, metrics and events.
//
// It may import packages rollup, listing, evaluate, policy, report, cluster, source,
// facts, metrics and apis, and nothing else of ours: facts come through its
// interface Session.
package audit

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	reportsclient "github.com/openreports/reports-api/pkg/client/clientset/versioned"

	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/source"
)

// Session answers the judgements of one namespace.
type Session interface {
	source.Source
	// Err returns why the answers are not to be believed; nil if they are.
	Err() error
}

// Options are what an Auditor works with.
type Options struct {
	Lister  *listing.Lister
	Reports reportsclient.Interface
	// Policies returns those in force.
	Policies func() *policy.Snapshot
	// Session begins to answer; Namespaces are all there are, with their labels.
	Session    func() Session
	Namespaces func() map[string]map[string]string
	// Only these namespaces are audited; all if empty.
	Only []string
	// Ready reports whether facts and policies have been loaded.
	Ready func() bool
	// Settled reports whether it is known by what tokens are verified. For some
	// time after a start it is not, and what a report has stays.
	Settled func() bool
	// Interval between full passes.
	Interval time.Duration
	// Events are written on owners if set.
	Events  bool
	Now     func() time.Time
	Metrics *metrics.Metrics
	Log     logr.Logger
}

// Auditor audits a cluster for as long as it runs.
type Auditor struct {
	Options
	running atomic.Bool
	wake    chan struct{} // holds one: something is due

	mu  sync.Mutex
	due map[string]time.Time // namespaces that changed, by when to look at them
	all time.Time            // when to look at all; zero: not asked for

	// The rest is for the goroutine that runs.

	rest      []string // of the full pass under way
	began     time.Time
	nextPass  time.Time
	passFirst bool                // whose turn it is
	cooldowns map[string]cooldown // of namespaces that have changed lately
	seen      *policy.Snapshot    // that the namespaces were judged by
	counts    map[string]map[findingLabels]int
	logged    map[string]string          // the last failure of each kind that was logged
	refused   map[string]map[string]bool // objects that the API server did not take and that were logged, by kind and namespace
	// withoutReports is set once it was logged that the cluster has no OpenReports.
	withoutReports bool
}

// findingLabels are what findings are counted by.
type findingLabels struct{ check, action, state string }

const (
	// debounce lets changes that belong together come together.
	debounce = time.Second
	// retryAfter is how soon a namespace is tried again that could not be audited.
	retryAfter = 30 * time.Second
	// policyPoll is how often it is looked whether policies have changed.
	policyPoll = 500 * time.Millisecond
)

// NewAuditor returns one that Run starts.
func NewAuditor(o Options) *Auditor {
	return &Auditor{Options: o, wake: make(chan struct{}, 1), due: map[string]time.Time{}, refused: map[string]map[string]bool{}}
}

// Touch notes that something has changed in a namespace, or, with an empty
// name, anywhere. It returns at once and may be called at any time.
func (a *Auditor) Touch(namespace string) {
	if !a.running.Load() {
		return
	}
	a.touch(namespace, a.Now().Add(debounce))
}

func (a *Auditor) touch(namespace string, when time.Time) {
	a.mu.Lock()
	if namespace == "" {
		if a.all.IsZero() {
			a.all = when
		}
	} else if known, ok := a.due[namespace]; !ok || when.Before(known) {
		a.due[namespace] = when
	}
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run audits until the context ends. Only one replica may.
func (a *Auditor) Run(ctx context.Context) error {
	a.rest, a.cooldowns, a.counts, a.logged = nil, map[string]cooldown{}, map[string]map[findingLabels]int{}, map[string]string{}
	a.nextPass = time.Time{}
	defer a.Metrics.AuditFindings.Reset()
	tick := time.NewTicker(policyPoll)
	defer tick.Stop()
	for !a.Ready() {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	a.seen = a.Policies()
	a.running.Store(true)
	defer a.running.Store(false)
	for ctx.Err() == nil {
		a.followPolicies()
		if namespace := a.next(a.Now()); namespace != "" {
			a.audit(ctx, namespace)
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-a.wake:
			select { // at most one look per tick for what is not due yet
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}
	return nil
}

// followPolicies notes the namespaces that a policy selects which is new, or is
// no longer what it was.
func (a *Auditor) followPolicies() {
	now := a.Policies()
	if now == a.seen {
		return
	}
	changed := policy.Differing(a.seen, now)
	a.seen = now
	for name, labels := range a.Namespaces() {
		if slices.ContainsFunc(changed, func(p *policy.Policy) bool { return p.MaySelect(labels) }) {
			a.touch(name, a.Now())
		}
	}
}

// next returns the namespace to look at now, or "": one that changed and the next of
// a full pass take turns, so that neither waits for the other for ever.
func (a *Auditor) next(now time.Time) string {
	a.passFirst = !a.passFirst
	ways := []func(time.Time) string{a.nextDue, a.nextOfPass}
	if a.passFirst {
		slices.Reverse(ways)
	}
	for _, way := range ways {
		if name := way(now); name != "" {
			return name
		}
	}
	return ""
}

func (a *Auditor) nextOfPass(now time.Time) string {
	if len(a.rest) == 0 {
		if !a.began.IsZero() {
			a.endPass(now)
		}
		if now.Before(a.nextPass) {
			return ""
		}
		a.beginPass(now)
	}
	if len(a.rest) == 0 {
		return ""
	}
	name := a.rest[0]
	a.rest = a.rest[1:]
	return name
}

func (a *Auditor) nextDue(now time.Time) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.all.IsZero() && !now.Before(a.all) {
		a.all, a.nextPass, a.began, a.rest = time.Time{}, time.Time{}, time.Time{}, nil
	}
	first := ""
	for name, when := range a.due {
		if now.Before(when) || now.Before(a.cooldowns[name].until) {
			continue
		}
		if first == "" || when.Before(a.due[first]) {
			first = name
		}
	}
	if first != "" {
		delete(a.due, first)
		a.cooldowns[first] = a.cooldowns[first].afterChange(now)
	}
	return first
}

func (a *Auditor) beginPass(now time.Time) {
	names := slices.Sorted(maps.Keys(a.Namespaces()))
	if len(a.Only) > 0 {
		names = slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(a.Only, name) })
	}
	for name := range a.counts {
		if !slices.Contains(names, name) {
			a.count(name, nil) // the namespace is gone, and its reports with it
		}
	}
	maps.DeleteFunc(a.cooldowns, func(_ string, c cooldown) bool { return c.over(now) })
	a.rest, a.began, a.nextPass = slices.Clone(names), now, now.Add(a.Interval)
	a.Log.V(1).Info("A full audit begins", "namespaces", len(names))
}

func (a *Auditor) endPass(now time.Time) {
	took := now.Sub(a.began)
	a.began = time.Time{}
	a.Metrics.AuditPasses.Inc()
	a.Metrics.AuditLastPass.Set(float64(now.Unix()))
	a.Metrics.AuditPassDuration.Set(took.Seconds())
	a.Log.Info("The cluster has been audited", "namespaces", len(a.counts), "took", took.Round(time.Millisecond).String(), "next", a.nextPass.UTC().Format(time.RFC3339))
}
