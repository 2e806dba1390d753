package cases

import (
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/source"
	"tokenward.dev/tokenward/pkg/strictyaml"
	"tokenward.dev/tokenward/pkg/usage"
	"tokenward.dev/tokenward/pkg/workload"
)

// useGuarded takes over a request about a Secret or an account, if it is one.
func (c *Case) useGuarded(d *strictyaml.Document) error {
	r := &c.File.Request
	object := r.Object
	if empty(object) {
		object = r.OldObject
	}
	var kind metav1.TypeMeta
	_ = json.Unmarshal(object, &kind) // what is no object is nobody's kind
	if kind.APIVersion != "v1" || !slices.Contains([]string{"Secret", "ServiceAccount"}, kind.Kind) {
		return nil
	}
	c.guarded = &policy.GuardedRequest{
		Kind: reference.Kind(kind.Kind), Operation: r.Operation, Namespace: c.review.Namespace, UserInfo: r.UserInfo,
	}
	for _, part := range []struct {
		at   string
		from json.RawMessage
		to   **policy.Guarded
	}{{"request.object", r.Object, &c.guarded.Object}, {"request.oldObject", r.OldObject, &c.guarded.Old}} {
		if empty(part.from) {
			continue
		}
		var meta metav1.PartialObjectMetadata
		*part.to = &policy.Guarded{}
		if err := json.Unmarshal(part.from, *part.to); err != nil {
			return d.ErrorAt(part.at, err.Error())
		}
		if err := json.Unmarshal(part.from, &meta); err != nil {
			return d.ErrorAt(part.at, err.Error())
		}
		if r.Namespace == "" && meta.Namespace != "" {
			c.guarded.Namespace = meta.Namespace
		}
		if !r.DeleteCollection {
			c.guarded.Name = meta.Name
		}
	}
	return nil
}

// IsGuarded reports whether the request is about a Secret or an account.
func (c *Case) IsGuarded() bool { return c.guarded != nil }

// guardedVerdict judges such a request.
func (c *Case) guardedVerdict() policy.Verdict {
	if deletion := c.guarded.Deletion(); deletion != nil {
		deletion.Now = c.now
		return c.snapshot.JudgeDeletion(deletion, deletionSource{c})
	}
	attributes := c.guarded.Attributes()
	attributes.Now = c.now
	plan := c.snapshot.Plan(attributes)
	return plan.Judge(source.Answer(c.cluster, c.now, plan.Needs))
}

// deletionSource answers from what the case has of the cluster.
type deletionSource struct{ c *Case }

// Gather implements policy.DeletionSource.
func (s deletionSource) Gather(needs func(*facts.Set) []facts.Query) *facts.Set {
	return source.Answer(s.c.cluster, s.c.now, needs)
}

// Users implements policy.DeletionSource.
func (s deletionSource) Users(bool) *usage.Users {
	users := &usage.Users{}
	for _, m := range s.c.File.Cluster {
		users.AddManifest(workload.BuiltinTemplates(), m)
	}
	return users
}

// Values implements policy.DeletionSource.
func (deletionSource) Values(o *workload.Object) *policy.Values { return evaluate.Values(o) }
