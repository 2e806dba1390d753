package manifest

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/makers"
	"tokenward.dev/tokenward/pkg/reference"
)

// table returns the table of makers: the built-in one, unless the cluster has another.
func (c *Cluster) table() *makers.Table {
	if c.Makers == nil {
		c.Makers = makers.NewTable()
	}
	return c.Makers
}

// provide notes what will be made of an object.
func (c *Cluster) provide(in *content, manifest []byte) {
	whole := sync.OnceValue(func() map[string]any { return in.fields(manifest) })
	o := &makers.Object{TypeMeta: in.TypeMeta, Namespace: c.namespaceOf(in), Name: in.Metadata.Name, Scoped: in.Metadata.Namespace != "", Fields: whole}
	for _, product := range c.table().Of(o) {
		into := &c.made
		if product.Fills {
			into = &c.filled
		}
		if *into == nil {
			*into = map[facts.Object]makers.Product{}
		}
		if known, ok := (*into)[product.Object]; !ok || known.Likely {
			(*into)[product.Object] = product
		}
	}
	if c.Programs {
		c.remember(in, o, manifest)
	}
}

// fields decodes an object as the table of makers reads it. Of kinds with values
// that metadata alone decides about it has no more than that.
func (in *content) fields(manifest []byte) map[string]any {
	switch in.Kind {
	case "Secret", "ConfigMap", "Service":
		return map[string]any{"metadata": map[string]any{
			"name": in.Metadata.Name, "namespace": in.Metadata.Namespace, "annotations": anyMap(in.Metadata.Annotations), "labels": anyMap(in.Metadata.Labels),
		}}
	}
	var fields map[string]any
	_ = kjson.UnmarshalCaseSensitivePreserveInts(manifest, &fields) // it was decoded before
	return fields
}

func anyMap(from map[string]string) map[string]any {
	to := make(map[string]any, len(from))
	for key, value := range from {
		to[key] = value
	}
	return to
}

// remember keeps what programs may make something by, for when it is asked for:
// most of the time it is not.
func (c *Cluster) remember(in *content, o *makers.Object, manifest []byte) {
	own := makers.Object{TypeMeta: o.TypeMeta, Namespace: o.Namespace, Name: o.Name, Scoped: o.Scoped}
	switch _, isPod := c.Templates.PathOf(in.GroupVersionKind()); {
	case isPod:
		c.pending = append(c.pending, func(p *makers.Programs) {
			if pod, err := c.Templates.FromJSON(manifest); err == nil {
				p.AddWorkload(&own, &pod.Spec)
			}
		})
	case in.Kind == "ConfigMap":
		c.pending = append(c.pending, func(p *makers.Programs) {
			var scripts corev1.ConfigMap
			if json.Unmarshal(manifest, &scripts) == nil {
				p.AddScripts(own.Namespace, own.Name, scripts.Data)
			}
		})
	case in.Kind == "Role" || in.Kind == "ClusterRole":
		c.pending = append(c.pending, func(p *makers.Programs) {
			var role rbacv1.Role
			if json.Unmarshal(manifest, &role) == nil {
				p.AddRole(scopeOf(&own, "Role"), own.Name, role.Rules)
			}
		})
	case in.Kind == "RoleBinding" || in.Kind == "ClusterRoleBinding":
		c.pending = append(c.pending, func(p *makers.Programs) {
			var binding rbacv1.RoleBinding
			if json.Unmarshal(manifest, &binding) == nil {
				p.AddBinding(scopeOf(&own, "RoleBinding"), binding.RoleRef, binding.Subjects)
			}
		})
	}
}

// scopeOf returns the namespace of a kind that has one.
func scopeOf(o *makers.Object, namespaced string) string {
	if o.Kind == namespaced {
		return o.Namespace
	}
	return ""
}

// programs are read once something is missing.
func (c *Cluster) programs() *makers.Programs {
	if c.scanned == nil {
		c.scanned = makers.NewPrograms(c.table())
		for _, add := range c.pending {
			add(c.scanned)
		}
		c.pending = nil
	}
	return c.scanned
}

// maker returns what will make an object that user refers to, the certain first.
// What is only likely counts where programs do, too: a case has a closed world.
func (c *Cluster) maker(o facts.Object, user string) (makers.Product, bool) {
	product, ok := c.anyMaker(o, user)
	return product, ok && (c.Programs || !product.Likely)
}

func (c *Cluster) anyMaker(o facts.Object, user string) (makers.Product, bool) {
	if o.Kind != reference.Secret && o.Kind != reference.ConfigMap {
		return makers.Product{}, false
	}
	likely, found := find(c.made, o)
	if found && !likely.Likely {
		return likely, true
	}
	if always, ok := c.table().Always(o); ok && !always.Fills {
		if !always.Likely || !found {
			likely, found = always, true
		}
	}
	if c.Programs {
		if product, ok := c.programs().Of(o, user); ok && (!product.Likely || !found) {
			likely, found = product, true
		}
		if !found && hasPlaceholder(o.Name) {
			return makers.Product{Object: o, By: "what fills in the placeholder", Likely: true}, true
		}
	}
	return likely, found
}

// filler returns what will add keys to an object that is there; to one without
// keys it may also be a program that names it.
func (c *Cluster) filler(o facts.Object, empty bool, user string) (makers.Product, bool) {
	if product, ok := find(c.filled, o); ok {
		return product, true
	}
	if always, ok := c.table().Always(o); ok && always.Fills {
		return always, true
	}
	if !empty {
		return makers.Product{}, false
	}
	return c.maker(o, user)
}

func find(products map[facts.Object]makers.Product, o facts.Object) (makers.Product, bool) {
	if product, ok := products[o]; ok {
		return product, true
	}
	product, ok := products[facts.Object{Kind: o.Kind, Name: o.Name}]
	return product, ok
}

// hasPlaceholder reports whether a name has yet to be filled in: no object may be
// called so.
func hasPlaceholder(name string) bool {
	for _, mark := range []string{"${", "$(", "{{", "<", "((", "@@", "%%", "__"} {
		if strings.Contains(name, mark) {
			return true
		}
	}
	return false
}

// fill makes keys unknown that something will add.
func (c *Cluster) fill(f *facts.Fact, q *facts.Query, empty bool, user string) {
	absent := false
	for _, state := range f.Keys {
		absent = absent || state == facts.Absent
	}
	if !absent {
		return
	}
	product, ok := c.filler(q.Object, empty, user)
	if !ok {
		return
	}
	for key, state := range f.Keys {
		if state == facts.Absent {
			f.Keys[key] = facts.Unknown
		}
	}
	f.Provided, f.Likely = product.By, product.Likely
}

func unknownKeys(keys []string) map[string]facts.State {
	states := make(map[string]facts.State, len(keys))
	for _, k := range keys {
		states[k] = facts.Unknown
	}
	return states
}

// itemError names an item of a list.
func itemError(i int, err error) error { return fmt.Errorf("items[%d]: %w", i, err) }

// typeOf is what the items of a typed list are that do not say it.
func typeOf(in *content) metav1.TypeMeta {
	if in.Kind == "List" {
		return metav1.TypeMeta{}
	}
	return metav1.TypeMeta{APIVersion: in.APIVersion, Kind: strings.TrimSuffix(in.Kind, "List")}
}
