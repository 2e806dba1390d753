package audit

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/workload"
)

// Survey is one pass over a cluster from outside: everything is listed once, by
// pages, and judged against what the lists brought. A fault is confirmed by a
// live read before it is told.
type Survey struct {
	Config    *rest.Config
	Templates workload.Templates
	Snapshot  *policy.Snapshot
	// Namespace to look at; all if empty. Selector selects pods and workloads by
	// their labels; all if nil.
	Namespace string
	Selector  labels.Selector
	// Keys are given besides those that the API server publishes.
	Keys token.KeySetOptions
	Now  time.Time
	// Progress is told how many objects of a kind have been read.
	Progress func(what string, n int)
}

// survey is one that is under way.
type survey struct {
	*Survey
	*Lister
	held      *Holding
	trust     *Trust
	judge     Judge
	owners    *owners
	workloads *workloads
	siblings  *siblings // nil where a policy tells siblings apart
	out       *report.Audit
	// What the visitors of the pods gather.
	embedded embedded
	uses     uses
	stuck    []waitingPod
	without  tokenless
	// seen is set once pods or workloads of a kind could be listed; refusal is
	// why the last of the others could not.
	seen    bool
	refusal error
}

// Run makes the survey. It fails only where nothing can be told; what the
// caller has no right to see is named in the report.
func (s *Survey) Run(ctx context.Context) (*report.Audit, error) {
	lister, err := NewLister(s.Config, s.Templates)
	if err != nil {
		return nil, err
	}
	v := &survey{
		Survey: s, Lister: lister, held: NewHolding(), owners: newOwners(lister.readOwner), workloads: newWorkloads(),
		judge: Judge{Snapshot: s.Snapshot, Now: s.Now},
		out:   &report.Audit{Time: s.Now.UTC().Truncate(time.Second), Namespace: s.Namespace},
	}
	if !s.Snapshot.LooksAtWholePods() {
		v.siblings = newSiblings()
	}
	if v.trust, err = ReadTrust(ctx, s.Config, s.Keys, s.Now); err != nil {
		v.incomplete("the keys that tokens are signed by", err)
	}
	v.uses.survey, v.without.survey, v.embedded = v, v, embedded{survey: v, jwt: regexp.MustCompile(jwtPattern)}
	for _, step := range []func(context.Context) error{v.load, v.judgeTemplates, v.judgePods, v.embedded.tell, v.uses.tell, v.tellDead, v.tellStuck, v.tellAccounts} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	v.without.tell()
	v.out.Judged.Policies = s.Snapshot.Policies()
	v.out.Workloads = v.workloads.report()
	v.out.Sort()
	return v.out, nil
}

// incomplete notes what could not be looked at.
func (v *survey) incomplete(what string, err error) {
	text := what + " could not be read"
	if err != nil {
		text += ": " + err.Error()
	}
	if !slices.Contains(v.out.Incomplete, text) {
		v.out.Incomplete = append(v.out.Incomplete, text)
	}
}

func (v *survey) load(ctx context.Context) error {
	l := &load{
		Lister: v.Lister, into: v.held, trust: v.trust, namespace: v.Namespace, value: v.embedded.visit,
		refused: v.incomplete,
		progress: func(what string, n int) {
			v.Progress(what, n)
			switch what {
			case "Secrets":
				v.out.Judged.Secrets = n
			case "ConfigMaps":
				v.out.Judged.ConfigMaps = n
			case "accounts":
				v.out.Judged.Accounts = n
			}
		},
	}
	if err := l.run(ctx); err != nil {
		return fmt.Errorf("the cluster could not be read: %w", err)
	}
	return nil
}

// tolerate turns the lack of a right, or of a kind, into a note.
func (v *survey) tolerate(what string, err error) error {
	switch whyNot(err) {
	case facts.Forbidden:
		v.incomplete(what, err)
		v.refusal = err
		return nil
	case facts.Failed:
		return fmt.Errorf("%s: %w", what, err)
	default:
		return nil
	}
}

// judgeTemplates judges the workloads, owners before what they own.
func (v *survey) judgeTemplates(ctx context.Context) error {
	visit := func(page []listed) error {
		for i := range page {
			v.owners.add(page[i].meta)
		}
		page = slices.DeleteFunc(page, func(o listed) bool { return o.Pod == nil || !v.selected(&o) })
		results, err := v.judgePage(ctx, page)
		if err != nil {
			return err
		}
		for i := range page {
			if results[i].Passed != "" {
				continue
			}
			v.out.Judged.Templates++
			v.workloads.add(v.topOf(ctx, &page[i]), &page[i], &results[i], false)
		}
		v.Progress("workloads", v.out.Judged.Templates)
		return nil
	}
	for _, r := range v.Templates.Resources() {
		if err := v.judged(r.Resource, v.eachCustom(ctx, r, v.Namespace, visit)); err != nil {
			return err
		}
	}
	for _, r := range v.resources() {
		if err := v.judged(r.name, v.each(ctx, r, v.Namespace, visit)); err != nil {
			return err
		}
	}
	return nil
}

// judged notes how the list of pods or of a kind of workloads ended.
func (v *survey) judged(what string, err error) error {
	v.seen = v.seen || err == nil
	return v.tolerate(what, err)
}

func (v *survey) selected(o *listed) bool {
	return v.Selector == nil || v.Selector.Matches(labels.Set(o.meta.GetLabels()))
}

func (v *survey) topOf(ctx context.Context, o *listed) Ref {
	return v.owners.top(ctx, o.ref(), metav1.GetControllerOfNoCopy(o.meta))
}

func (v *survey) judgePods(ctx context.Context) error {
	err := v.each(ctx, v.pods(), v.Namespace, func(page []listed) error {
		page = slices.DeleteFunc(page, func(o listed) bool { return !v.selected(&o) })
		results, err := v.judgePage(ctx, page)
		if err != nil {
			return err
		}
		for i := range page {
			o := &page[i]
			if results[i].Passed != "" {
				continue
			}
			v.out.Judged.Pods++
			top := v.topOf(ctx, o)
			reason, since := stuckSince(o.Pod.Pod, v.Now)
			if reason != "" {
				v.stuck = append(v.stuck, waitingPod{pod: o.ref(), workload: top, reason: reason, since: since, findings: results[i].Findings})
			}
			v.workloads.add(top, o, &results[i], reason != "")
			references := reference.OfPod("", &o.Pod.Spec)
			v.uses.visit(top, o, references)
			v.without.visit(top, o)
		}
		v.Progress("pods", v.out.Judged.Pods)
		return nil
	})
	if err := v.judged("pods", err); err != nil {
		return err
	}
	if !v.seen { // nothing was found because nothing was looked at
		return fmt.Errorf("neither pods nor workloads may be listed, so that there is nothing to judge: grant the right to list them, or choose a namespace with --namespace: %w", v.refusal)
	}
	return nil
}

// maxRounds bounds how often a page is judged again with what was read live.
const maxRounds = 5

// judgePage judges objects, reads live whatever a fault of theirs rests on, and
// judges those once more.
func (v *survey) judgePage(ctx context.Context, page []listed) ([]Result, error) {
	results := make([]Result, len(page))
	open := make([]int, len(page))
	for i := range page {
		open[i] = i
	}
	for round := range maxRounds {
		doubtful := map[facts.Object]bool{}
		open = slices.DeleteFunc(open, func(i int) bool {
			result, doubts := v.judgeOnce(&page[i])
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
		if err := v.confirm(ctx, v.held, v.trust, setOf(doubtful)); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func setOf(objects map[facts.Object]bool) []facts.Object {
	out := make([]facts.Object, 0, len(objects))
	for o := range objects {
		out = append(out, o)
	}
	return out
}

// judgeOnce judges by what is held, and a pod without a finding for its siblings,
// too. Those with one are judged each: there are few.
func (v *survey) judgeOnce(o *listed) (Result, []facts.Object) {
	if v.siblings == nil {
		return v.judgeHeld(&o.Object)
	}
	known, ok := v.siblings.of(o)
	if ok {
		if result, found := v.siblings.good[known]; found {
			return result, nil
		}
	}
	result, doubtful := v.judgeHeld(&o.Object)
	if ok && len(result.Findings) == 0 {
		v.siblings.good[known] = result
	}
	return result, doubtful
}

// judgeHeld judges by what is held, and returns what the verdict had better not
// rest on.
func (v *survey) judgeHeld(o *Object) (Result, []facts.Object) {
	var doubtful []facts.Object
	judge := v.judge
	judge.Gather = func(needs func(*facts.Set) []facts.Query) (set *facts.Set) {
		set, doubtful = v.held.gather(needs)
		return set
	}
	return judge.Object(o), doubtful
}

// stuckAfter is how long a pod may take to start before it counts as stuck.
const stuckAfter = time.Minute

// stuckSince returns why and since when a pod is stuck; "" if it is not.
func stuckSince(pod *corev1.Pod, now time.Time) (string, time.Time) {
	reason := waiting(pod)
	if reason == "" {
		return "", time.Time{}
	}
	since := pod.CreationTimestamp.Time
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
			since = c.LastTransitionTime.Time
		}
	}
	if started := pod.Status.StartTime; started != nil { // when the kubelet took it on
		since = started.Time
	}
	if now.Sub(since) < stuckAfter {
		return "", time.Time{}
	}
	return reason, since
}
