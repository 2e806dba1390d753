package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/usage"
	"tokenward.dev/tokenward/pkg/workload"
)

// AllowDeletion is the annotation by which a Secret or an account may be deleted
// whatever depends on it. Its value is the uid, so that it holds for this object and
// for none that is made from the same manifest later.
const AllowDeletion = "tokenward.dev/allow-deletion"

// Deletion is the deletion of a Secret or an account.
type Deletion struct {
	Object      facts.Object
	UID         string
	Annotations map[string]string
	// BeingDeleted is set where a finalizer is all that keeps the object.
	BeingDeleted bool
	// TokenSecret and PullSecret say what kind of Secret it is.
	TokenSecret, PullSecret bool
	// Collection is set for one of many that one request deletes: if one is refused,
	// the rest stays.
	Collection bool
	UserInfo   authenticationv1.UserInfo
	// Now is the time of the judgement.
	Now time.Time
	// Done is closed when nobody waits for the answer any more; nil for never.
	Done <-chan struct{}
}

// DeletionSource answers what the judgement of a deletion needs to know.
type DeletionSource interface {
	// Gather answers queries, until the judgement asks nothing new.
	Gather(needs func(*facts.Set) []facts.Query) *facts.Set
	// Users finds out who uses what in the namespace. whole asks for whole objects,
	// which conditions see.
	Users(whole bool) *usage.Users
	// Values returns what conditions see of an object that exists.
	Values(object *workload.Object) *Values
}

// Gone is an object as if which did not exist a pod is judged.
type Gone struct {
	facts.Object
	TokenSecret, PullSecret bool
	// TokenSecrets of an account go with it.
	TokenSecrets []string
	// Dependent is the workload that the pod belongs to, and Controlled is set if
	// somebody makes the pod anew when it ends.
	Dependent  *usage.Dependent
	Controlled bool
}

// check returns the check that judges the deletion of a kind.
func (d *Deletion) check() string {
	if d.Object.Kind == reference.Secret {
		return secretInUseID
	}
	return accountInUseID
}

// passesDeletion names the rule by which a deletion is not judged at all, or "".
func (s *Snapshot) passesDeletion(d *Deletion) string {
	switch {
	case len(s.options.Namespaces) > 0 && !slices.Contains(s.options.Namespaces, d.Object.Namespace):
		return "the namespace is not watched"
	case d.BeingDeleted:
		return "the object is being deleted already"
	case isOfCluster(&d.UserInfo):
		return "what the cluster itself deletes is never held up"
	case d.UID != "" && d.Annotations[AllowDeletion] == d.UID:
		return "the object is annotated with " + AllowDeletion
	case !slices.ContainsFunc(s.policies, func(p *Policy) bool { return p.rules[d.check()].action.StrongerThan(v1alpha1.None) }):
		return "no policy asks who depends on the object"
	}
	return ""
}

// isOfCluster reports whether a part of the cluster asks: a node, the controller
// manager, or one of its controllers, which have accounts in kube-system. The chart's
// matchConditions have the same list.
func isOfCluster(u *authenticationv1.UserInfo) bool {
	return u.Username == "system:kube-controller-manager" || strings.HasPrefix(u.Username, "system:serviceaccount:kube-system:") ||
		slices.Contains(u.Groups, "system:nodes")
}

// JudgeDeletion judges everybody who depends on an object as if the object were
// absent, by the policies that match the pod. Nothing is refused for what is unknown.
func (s *Snapshot) JudgeDeletion(d *Deletion, from DeletionSource) Verdict {
	if rule := s.passesDeletion(d); rule != "" {
		return Verdict{Allowed: true, Passed: rule}
	}
	namespace := facts.Object{Kind: facts.Namespace, Name: d.Object.Namespace}
	tokenSecrets := facts.Object{Kind: facts.TokenSecretsOf, Namespace: d.Object.Namespace, Name: d.Object.Name}
	set := from.Gather(func(*facts.Set) []facts.Query {
		queries := []facts.Query{{Object: namespace}}
		if d.Object.Kind == reference.ServiceAccount {
			queries = append(queries, facts.Query{Object: tokenSecrets})
		}
		return queries
	})
	if terminates(set.Get(namespace)) {
		return Verdict{Allowed: true, Passed: "the namespace is being deleted"}
	}
	j := &deletionJudgement{snapshot: s, deletion: d, namespace: namespace}
	users := from.Users(s.LooksAtWholePods())
	j.plan(users, set.Get(tokenSecrets).Names, from)
	set = from.Gather(j.needs)
	if terminates(set.Get(namespace)) {
		return Verdict{Allowed: true, Passed: "the namespace is being deleted"}
	}
	return j.verdict(set, users.Unread)
}

// terminates reports whether a namespace is being deleted. It never comes back from
// that, so that what was remembered counts as well.
func terminates(f facts.Fact) bool {
	if !f.Deleting.IsZero() {
		return true
	}
	metadata, _ := f.Whole["metadata"].(map[string]any)
	_, deleting := metadata["deletionTimestamp"]
	return deleting
}

// deletionJudgement has the plans of all pods and templates that depend on an object.
type deletionJudgement struct {
	snapshot  *Snapshot
	deletion  *Deletion
	namespace facts.Object
	plans     []*Plan
}

// plan makes a plan for each user.
func (j *deletionJudgement) plan(users *usage.Users, tokenSecrets []string, from DeletionSource) {
	d := j.deletion
	objects := []facts.Object{d.Object}
	for _, name := range tokenSecrets {
		objects = append(objects, facts.Object{Kind: reference.Secret, Namespace: d.Object.Namespace, Name: name})
	}
	// Pods get the pull Secrets of their account when they are made.
	inherits := func(u *usage.User) bool {
		return d.PullSecret && u.Pod.Template && len(u.Pod.Spec.ImagePullSecrets) == 0
	}
	shared := newConditions(d.Done)
	dependents := users.Dependents(inherits, objects...)
	for i := range dependents {
		for _, u := range dependents[i].Users {
			a := &Attributes{
				Operation: admissionv1.Create, UserInfo: d.UserInfo, Now: d.Now, Namespace: d.Object.Namespace, Pod: u.Pod,
				Values: func() *Values { return d.values(from.Values(&u.Object)) }, State: strconv.Itoa(len(j.plans)), Done: d.Done, evaluated: shared,
				Gone: &Gone{
					Object: d.Object, TokenSecret: d.TokenSecret, PullSecret: d.PullSecret, TokenSecrets: tokenSecrets,
					Dependent: &dependents[i], Controlled: u.Controller != nil,
				},
			}
			if d.Collection {
				a.AtMost = v1alpha1.Warn
			}
			j.plans = append(j.plans, j.snapshot.Plan(a))
		}
	}
}

// values adds to what conditions see of a pod who deletes what it depends on.
func (d *Deletion) values(v *Values) *Values {
	if v == nil {
		return nil
	}
	groups := make([]any, len(d.UserInfo.Groups))
	for i, g := range d.UserInfo.Groups {
		groups[i] = g
	}
	v.Request["userInfo"] = map[string]any{"username": d.UserInfo.Username, "uid": d.UserInfo.UID, "groups": groups}
	return v
}

// needs returns what the plans ask. The object counts as absent whatever is known of
// it. A namespace in which something may be refused is looked at live.
func (j *deletionJudgement) needs(set *facts.Set) []facts.Query {
	set.Put(j.deletion.Object, facts.Fact{State: facts.Absent, Contents: true, Fresh: true})
	var queries facts.Queries
	for _, p := range j.plans {
		for _, q := range p.Needs(set) {
			queries.Ask(q)
		}
		if p.mayDeny() {
			queries.Ask(facts.Query{Object: j.namespace, Contents: true, Fresh: true})
		}
	}
	return queries.List
}

// mayDeny reports whether a policy that matches may deny.
func (p *Plan) mayDeny() bool {
	return slices.ContainsFunc(p.trials, func(t trial) bool {
		return slices.ContainsFunc(t.votes, func(v vote) bool { return v.action == v1alpha1.Deny && !v.policy.dryRun })
	})
}

// verdict has one finding for each workload: the strictest of its pods and templates.
func (j *deletionJudgement) verdict(set *facts.Set, unread []string) Verdict {
	live := set.Get(j.namespace)
	var rulings []ruling
	places := map[string]int{}
	all := &Plan{snapshot: j.snapshot, attributes: &Attributes{}}
	for _, p := range j.plans {
		for _, r := range p.rulings(set) {
			if r.finding.Action == v1alpha1.Deny && !live.Known() {
				r.finding.Action = v1alpha1.Warn // whether the namespace is being deleted is unknown
			}
			i, known := places[r.finding.Subject]
			if !known {
				places[r.finding.Subject], rulings = len(rulings), append(rulings, r)
				continue
			}
			if r.finding.atOnce && !rulings[i].finding.atOnce {
				r, rulings[i] = rulings[i], r
			}
			rulings[i].merge(&r)
		}
		all.matching.join(&p.matching)
	}
	if r, ok := j.unread(unread); ok {
		rulings = append(rulings, r)
	}
	v := all.verdict(rulings)
	if !v.Allowed && j.deletion.UID != "" {
		v.Message += ". To delete it all the same, annotate it with " + AllowDeletion + "=" + j.deletion.UID
	}
	return v
}

// join adds policies that match another pod.
func (m *matching) join(other *matching) {
	for i := range other.policies {
		if one := other.policies[i]; !slices.ContainsFunc(m.policies, func(known matched) bool { return known.policy == one.policy }) {
			m.policies = append(m.policies, one)
		}
	}
	for _, u := range other.undecided {
		if !slices.Contains(m.undecided, u) {
			m.undecided = append(m.undecided, u)
		}
	}
}

// unread is the finding that not everybody who may depend on the object was looked at.
func (j *deletionJudgement) unread(lists []string) (ruling, bool) {
	action := v1alpha1.None
	for _, p := range j.snapshot.policies {
		if !p.dryRun {
			action = v1alpha1.Stronger(action, p.rules[j.deletion.check()].action)
		}
	}
	if len(lists) == 0 || !action.StrongerThan(v1alpha1.None) {
		return ruling{}, false
	}
	if action = v1alpha1.Weaker(action, v1alpha1.Warn); j.snapshot.options.DryRun {
		action = v1alpha1.Audit
	}
	id := j.deletion.check()
	at := slices.IndexFunc(j.snapshot.checks, func(c Check) bool { return c.ID == id })
	return ruling{would: v1alpha1.None, finding: Finding{
		Check: id, Impact: j.snapshot.checks[at].Impact, Object: j.deletion.Object, State: facts.Unknown, Why: facts.Failed, Action: action,
		Message: shorten(id, message(func(quote func(string) string) string {
			return "Not all that may depend on " + string(j.deletion.Object.Kind) + " " + quote(j.deletion.Object.Name) +
				" could be looked at (" + strings.Join(lists, ", ") + "). What is unknown refuses no deletion."
		})),
	}}, true
}

// IsPullSecret reports whether a type of Secret is one that the kubelet pulls images
// with.
func IsPullSecret(t corev1.SecretType) bool {
	return t == corev1.SecretTypeDockerConfigJson || t == corev1.SecretTypeDockercfg
}
