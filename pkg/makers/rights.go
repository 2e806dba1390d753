package makers

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"

	"tokenward.dev/tokenward/pkg/reference"
)

// account is a ServiceAccount by namespace and name.
type account struct{ namespace, name string }

// right is what an account may do to Secrets or ConfigMaps.
type right struct {
	kind reference.Kind
	// namespace is empty for all.
	namespace string
}

// rights are what the roles among the manifests allow.
type rights struct {
	roles map[account][]rbacv1.PolicyRule // by namespace, empty for ClusterRoles, and name
	// creates has the namespaces in which an account may create; names are those that
	// its roles speak of.
	creates map[account][]right
	names   map[account][]string
}

func newRights() *rights {
	return &rights{roles: map[account][]rbacv1.PolicyRule{
		// What every cluster has (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#user-facing-roles).
		{name: "cluster-admin"}: {{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}},
		{name: "admin"}:         {{APIGroups: []string{""}, Resources: []string{"secrets", "configmaps"}, Verbs: []string{"create"}}},
		{name: "edit"}:          {{APIGroups: []string{""}, Resources: []string{"secrets", "configmaps"}, Verbs: []string{"create"}}},
	}, creates: map[account][]right{}, names: map[account][]string{}}
}

// bind notes what a binding gives: in its namespace, or everywhere if it has none.
func (r *rights) bind(namespace string, role rbacv1.RoleRef, subjects []rbacv1.Subject) {
	from := account{name: role.Name}
	if role.Kind == "Role" {
		from.namespace = namespace
	}
	for _, rule := range r.roles[from] {
		for _, kind := range []reference.Kind{reference.Secret, reference.ConfigMap} {
			if !allows(&rule, kind) {
				continue
			}
			for _, s := range subjects {
				if s.Kind != rbacv1.ServiceAccountKind {
					continue
				}
				who := account{namespace: s.Namespace, name: s.Name}
				if who.namespace == "" {
					who.namespace = namespace
				}
				r.names[who] = append(r.names[who], rule.ResourceNames...)
				if creates(&rule) {
					r.creates[who] = append(r.creates[who], right{kind, namespace})
				}
			}
		}
	}
}

func allows(rule *rbacv1.PolicyRule, kind reference.Kind) bool {
	resource := map[reference.Kind]string{reference.Secret: "secrets", reference.ConfigMap: "configmaps"}[kind]
	return has(rule.APIGroups, "") && has(rule.Resources, resource)
}

// creates reports whether the rule lets make or fill objects.
func creates(rule *rbacv1.PolicyRule) bool {
	return has(rule.Verbs, "create") || has(rule.Verbs, "update") || has(rule.Verbs, "patch")
}

func has(list []string, word string) bool {
	return slices.Contains(list, word) || slices.Contains(list, "*")
}

// may reports whether an account may make objects of a kind in a namespace.
func (r *rights) may(who account, kind reference.Kind, namespace string) bool {
	return slices.ContainsFunc(r.creates[who], func(c right) bool {
		return c.kind == kind && (c.namespace == "" || c.namespace == namespace)
	})
}
