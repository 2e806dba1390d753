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

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
)

// Session answers the judgements of one namespace.
type Session interface {
	Gather(ctx context.Context, needs func(*facts.Set) []facts.Query) *facts.Set
	// Err tells that what was answered is not to be believed.
	Err() error
}

// Options are what an Auditor works with.
type Options struct {
	Lister  *Lister
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

// Auditor audits a cluster for as long as it runs: all of it once per interval,
// and a namespace soon after something changed there.
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
	passFirst bool             // whose turn it is
	resting   map[string]calm  // namespaces that have changed lately
	seen      *policy.Snapshot // that the namespaces were judged by
	counts    map[string]map[finding]int
	told      map[string]string // what was last logged of a failure
}

// finding is what findings are counted by.
type finding struct{ check, action, state string }

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
	return &Auditor{Options: o, wake: make(chan struct{}, 1), due: map[string]time.Time{}}
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
	a.rest, a.resting, a.counts, a.told = nil, map[string]calm{}, map[string]map[finding]int{}, map[string]string{}
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

// next returns the namespace to look at now: by turns one that changed and the
// next of a full pass, so that neither waits for the other for ever; "" if there
// is none.
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
		if now.Before(when) || now.Before(a.resting[name].until) {
			continue
		}
		if first == "" || when.Before(a.due[first]) {
			first = name
		}
	}
	if first != "" {
		delete(a.due, first)
		a.resting[first] = a.resting[first].again(now)
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
	maps.DeleteFunc(a.resting, func(_ string, r calm) bool { return r.over(now) })
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

// audit looks at one namespace.
func (a *Auditor) audit(ctx context.Context, namespace string) {
	if len(a.Only) > 0 { // the rights in a namespace go with it
		if _, exists := a.Namespaces()[namespace]; !exists || !slices.Contains(a.Only, namespace) {
			a.count(namespace, nil)
			return
		}
	}
	began := a.Now()
	err := a.auditNamespace(ctx, namespace)
	if ctx.Err() != nil {
		return
	}
	ended := a.Now()
	if r, ok := a.resting[namespace]; ok {
		a.resting[namespace] = r.after(ended, ended.Sub(began))
	}
	if err != nil {
		a.Metrics.AuditNamespaces.WithLabelValues("error").Inc()
		a.tell("namespace", err, "A namespace could not be audited; its reports stay as they are", "namespace", namespace, "retryAfter", retryAfter.String())
		a.touch(namespace, ended.Add(retryAfter))
		return
	}
	a.Metrics.AuditNamespaces.WithLabelValues("ok").Inc()
}

// tell logs a failure unless it was the last of its kind, too.
func (a *Auditor) tell(what string, err error, message string, more ...any) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if a.told[what] == text {
		return
	}
	a.told[what] = text
	if err != nil {
		a.Log.Error(err, message, more...)
	}
}

// auditNamespace judges what is in a namespace and writes what was found.
func (a *Auditor) auditNamespace(ctx context.Context, namespace string) error {
	settled := a.Settled() // before anything is judged by it
	found, err := a.judgeNamespace(ctx, namespace)
	if err != nil {
		return err
	}
	a.count(namespace, found)
	if err := a.writeReports(ctx, namespace, found, settled); err != nil {
		return err
	}
	if a.Events {
		a.writeEvents(ctx, found)
	}
	return nil
}

func (a *Auditor) judgeNamespace(ctx context.Context, namespace string) (*workloads, error) {
	session := a.Session()
	judge := &Judge{
		Snapshot: a.seen, Now: a.Now(),
		Gather: func(needs func(*facts.Set) []facts.Query) *facts.Set { return session.Gather(ctx, needs) },
	}
	found, owners := newWorkloads(), newOwners(a.Lister.readOwner)
	visit := func(page []listed) error {
		for i := range page {
			o := &page[i]
			owners.add(o.meta)
			if o.Pod == nil {
				continue
			}
			result := judge.Object(&o.Object)
			if err := session.Err(); err != nil {
				return err
			}
			if result.Passed != "" {
				continue
			}
			a.Metrics.AuditObjects.Inc()
			stuck := false
			if !o.Pod.Template {
				reason, _ := stuckSince(o.Pod.Pod, judge.Now)
				stuck = reason != ""
			}
			found.add(owners.top(ctx, o.ref(), controllerOf(o.meta)), o, &result, stuck)
		}
		return ctx.Err()
	}
	for _, r := range a.Lister.templates.Resources() {
		if err := a.tolerate(found, r.Resource, a.Lister.eachCustom(ctx, r, namespace, visit)); err != nil {
			return nil, err
		}
	}
	for _, r := range append(a.Lister.resources(), a.Lister.pods()) {
		if err := a.tolerate(found, r.name, a.Lister.each(ctx, r, namespace, visit)); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// tolerate goes on without a kind that may not be listed, or is not served.
func (a *Auditor) tolerate(found *workloads, what string, err error) error {
	switch whyNot(err) {
	case facts.Failed:
		return err
	case facts.Forbidden:
		found.refused = append(found.refused, what)
		a.tell("list "+what, err, "Objects can't be listed and are not audited", "resource", what)
	default:
		a.tell("list "+what, nil, "")
	}
	return nil
}

// count brings the metric of a namespace's findings up to date.
func (a *Auditor) count(namespace string, found *workloads) {
	now := map[finding]int{}
	if found != nil {
		for _, g := range found.byUID {
			for _, f := range g.faults {
				action := string(f.Action)
				if action == "" {
					action = "DryRun"
				}
				now[finding{f.Check, action, f.State.String()}]++
			}
		}
	}
	for k, n := range now {
		a.Metrics.AuditFindings.WithLabelValues(k.check, k.action, k.state).Add(float64(n))
	}
	for k, n := range a.counts[namespace] {
		a.Metrics.AuditFindings.WithLabelValues(k.check, k.action, k.state).Sub(float64(n))
	}
	if a.counts[namespace] = now; found == nil {
		delete(a.counts, namespace)
	}
}
