package manifest

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// Lookup implements source.Store. It is not sure where no manifest speaks of the
// object, so that it is only implied: present or absent.
func (c *Cluster) Lookup(q *facts.Query, now time.Time) (f facts.Fact, told bool) {
	return (&View{cluster: c}).Lookup(q, now)
}

// View is the cluster as one object sees it: of namesakes the one nearest to its
// file counts.
type View struct {
	cluster    *Cluster
	file, user string
}

// View returns the cluster as an object of a file, such as "Deployment shop/web",
// sees it.
func (c *Cluster) View(file, user string) *View { return &View{c, file, user} }

// Lookup implements source.Store.
func (v *View) Lookup(q *facts.Query, now time.Time) (f facts.Fact, told bool) {
	c := v.cluster
	switch {
	case q.Kind == facts.TokenSecretsOf:
		f = c.tokenSecretsOf(q)
		return f, len(f.Names) > 0
	case q.Kind == facts.SigningKey:
		return c.signingKey(q.Name, now), true
	case q.Kind == facts.ServingCertificate: // what it is compared with is a manifest, too
		return facts.Fact{State: facts.Present, Fresh: true}, true
	case q.SignerName != "":
		f = c.bundlesOf(q)
		return c.orNotGiven(f), f.State != facts.Absent
	}
	o := v.object(q.Object)
	if told = o != nil; !told {
		if product, ok := c.maker(q.Object, v.user); ok {
			return facts.Fact{
				State: facts.Present, Provided: product.By, Likely: product.Likely, Keys: unknownKeys(q.Keys), Contents: true, Fresh: true,
			}, !product.Likely
		}
		o = implied(q.Object)
	}
	f = c.factOf(q, o)
	if told && o.state == facts.Present {
		c.fill(&f, q, len(o.keys) == 0, v.user)
	}
	if !told {
		f = c.orNotGiven(f)
	}
	return f, told
}

// object returns an object; of several that of the file which has most directories
// in common with the view's, and among those the last.
func (v *View) object(id facts.Object) *object {
	best := v.cluster.objects[id]
	if best == nil || len(v.cluster.namesakes[id]) == 0 {
		return best
	}
	for _, o := range slices.Backward(v.cluster.namesakes[id]) {
		if inCommon(o.file, v.file) > inCommon(best.file, v.file) {
			best = o
		}
	}
	return best
}

// inCommon counts the directories that two files are both in; the same file is
// nearer than any other.
func inCommon(a, b string) int {
	x, y := strings.Split(filepath.ToSlash(a), "/"), strings.Split(filepath.ToSlash(b), "/")
	n := 0
	for n < len(x) && n < len(y) && x[n] == y[n] {
		n++
	}
	return n
}

func (c *Cluster) orNotGiven(f facts.Fact) facts.Fact {
	if f.State == facts.Absent && c.Given {
		f.Why = facts.NotGiven
	}
	return f
}

func (c *Cluster) factOf(q *facts.Query, o *object) facts.Fact {
	f := facts.Fact{State: o.state}
	switch o.state {
	case facts.Unknown:
		f.Why = o.why
	case facts.Absent:
	case facts.Present:
		f.Labels, f.Names = o.labels, o.names
		if q.Kind == facts.Namespace {
			f.Labels = labels.Merge(f.Labels, labels.Set{corev1.LabelMetadataName: q.Name})
			f.Whole = o.namespace(q.Name, f.Labels)
		}
		f.Keys, f.Binary = o.keyStates(q.Keys), o.binary
		f.UID, f.Deleting, f.Account = o.uid, o.deleting, o.account
		f.Contents, f.Fresh = true, true
		if o.secret != nil && q.Contents {
			f.Secret = facts.ReadSecret(o.secret, c.Keys, func(ca []byte) facts.State { return c.trusts(q.Namespace, ca) })
		}
	}
	return f
}

// namespace returns a Namespace as an API server would show it.
func (o *object) namespace(name string, labelsOf map[string]string) map[string]any {
	whole := maps.Clone(o.whole)
	if whole == nil {
		whole = map[string]any{"apiVersion": "v1", "kind": "Namespace"}
	}
	metadata, _ := whole["metadata"].(map[string]any)
	if metadata = maps.Clone(metadata); metadata == nil {
		metadata = map[string]any{}
	}
	delete(metadata, "managedFields")
	anyLabels := make(map[string]any, len(labelsOf))
	for k, v := range labelsOf {
		anyLabels[k] = v
	}
	metadata["name"], metadata["labels"] = name, anyLabels
	whole["metadata"] = metadata
	return whole
}

// implied is what every namespace has without a manifest's saying so.
func implied(id facts.Object) *object {
	switch {
	case id.Kind == facts.Namespace,
		id.Kind == reference.ServiceAccount && id.Name == "default":
		return &object{state: facts.Present, account: &facts.Account{}}
	case id.Kind == reference.ConfigMap && id.Name == rootCA:
		return &object{state: facts.Present, keys: map[string]struct{}{"ca.crt": {}}}
	}
	return &object{state: facts.Absent}
}

func (o *object) keyStates(keys []string) map[string]facts.State {
	if len(keys) == 0 {
		return nil
	}
	states := make(map[string]facts.State, len(keys))
	for _, k := range keys {
		states[k] = facts.Absent
		if _, ok := o.keys[k]; ok {
			states[k] = facts.Present
		}
	}
	return states
}

func (c *Cluster) tokenSecretsOf(q *facts.Query) facts.Fact {
	f := facts.Fact{State: facts.Present}
	for id, o := range c.objects {
		if id.Kind == reference.Secret && id.Namespace == q.Namespace && o.owner == q.Name {
			f.Names = append(f.Names, id.Name)
		}
	}
	slices.Sort(f.Names)
	return f
}

func (c *Cluster) bundlesOf(q *facts.Query) facts.Fact {
	selector, err := q.Selector()
	if err != nil {
		return facts.Fact{Why: facts.Failed}
	}
	state := facts.Absent
	for id, o := range c.objects {
		switch {
		case id.Kind != q.Kind || o.state == facts.Absent:
		case o.state == facts.Unknown:
			// Of what can't be looked up nobody knows whose it is, but for the
			// name: that of a signer's bundle starts with the signer's.
			if state == facts.Absent && (strings.HasPrefix(id.Name, strings.ReplaceAll(q.SignerName, "/", ":")+":") || !strings.Contains(id.Name, ":")) {
				state = facts.Unknown
			}
		case o.signer == q.SignerName && selector.Matches(labels.Set(o.labels)):
			state = facts.Present
		}
	}
	if state == facts.Unknown {
		return facts.Fact{Why: facts.Declared}
	}
	return facts.Fact{State: state}
}
