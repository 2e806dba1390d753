package survey

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/report"
)

// rights are the roles of a cluster and who is bound to them.
type rights struct {
	roles    map[roleName][]rbacv1.PolicyRule
	bindings []binding
}

// roleName names a Role, or, where the namespace is empty, a ClusterRole.
type roleName struct{ namespace, name string }

type binding struct {
	namespace string // where it holds; empty for everywhere
	role      roleName
	subjects  []rbacv1.Subject
}

// isDiscovery reports whether a role is one of those that let everybody find out
// what the API server is.
func isDiscovery(role roleName) bool {
	return role.namespace == "" && slices.Contains([]string{
		"system:discovery", "system:basic-user", "system:public-info-viewer", "system:service-account-issuer-discovery", "system:cluster-trust-bundle-discovery",
	}, role.name)
}

// accounts returns what the accounts may do whose tokens pods hold; pods counts
// these by account.
func accounts(ctx context.Context, client rest.Interface, pods map[accountName]int) ([]report.Account, []listing.Refusal, error) {
	if len(pods) == 0 {
		return nil, nil, nil
	}
	r, err := readRights(ctx, client)
	if err != nil {
		refused, err := tolerate("roles and their bindings", err)
		return nil, refused, err
	}
	out := make([]report.Account, 0, len(pods))
	for account, n := range pods {
		may := r.summarize(account)
		out = append(out, report.Account{Namespace: account.namespace, Name: account.name, Pods: n, May: may, Needless: len(may) == 0})
	}
	return out, nil, nil
}

func readRights(ctx context.Context, client rest.Interface) (*rights, error) {
	r := &rights{roles: map[roleName][]rbacv1.PolicyRule{}}
	for _, resource := range []string{"clusterroles", "roles", "clusterrolebindings", "rolebindings"} {
		err := listing.EachPage(ctx, listing.TypedList(client, resource, ""), func(page runtime.Object) error {
			r.addPage(page)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *rights) addPage(page runtime.Object) {
	switch list := page.(type) {
	case *rbacv1.ClusterRoleList:
		for i := range list.Items {
			r.roles[roleName{"", list.Items[i].Name}] = list.Items[i].Rules
		}
	case *rbacv1.RoleList:
		for i := range list.Items {
			r.roles[roleName{list.Items[i].Namespace, list.Items[i].Name}] = list.Items[i].Rules
		}
	case *rbacv1.ClusterRoleBindingList:
		for i := range list.Items {
			b := &list.Items[i]
			r.bind("", b.RoleRef, b.Subjects)
		}
	case *rbacv1.RoleBindingList:
		for i := range list.Items {
			b := &list.Items[i]
			r.bind(b.Namespace, b.RoleRef, b.Subjects)
		}
	}
}

func (r *rights) bind(namespace string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
	role := roleName{name: ref.Name}
	if ref.Kind == "Role" {
		role.namespace = namespace
	}
	r.bindings = append(r.bindings, binding{namespace: namespace, role: role, subjects: subjects})
}

// covers reports whether a binding is for an account: by its name, by the name
// that it has as a user, or by a group that every account is in.
func (b *binding) covers(a accountName) bool {
	return slices.ContainsFunc(b.subjects, func(s rbacv1.Subject) bool {
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			return s.Name == a.name && (s.Namespace == a.namespace || (s.Namespace == "" && b.namespace == a.namespace))
		case rbacv1.UserKind:
			return s.Name == "system:serviceaccount:"+a.namespace+":"+a.name
		case rbacv1.GroupKind:
			return slices.Contains([]string{"system:serviceaccounts", "system:serviceaccounts:" + a.namespace, "system:authenticated"}, s.Name)
		}
		return false
	})
}

// summarize says shortly what an account may do beyond discovery, the most powerful
// first; nothing if it may do nothing.
func (r *rights) summarize(a accountName) []string {
	var all []grant
	for i := range r.bindings {
		b := &r.bindings[i]
		if isDiscovery(b.role) || !b.covers(a) {
			continue
		}
		for j := range r.roles[b.role] {
			for _, g := range grants(&r.roles[b.role][j]) {
				if b.namespace != "" {
					g.text += " in " + b.namespace
				}
				if !slices.ContainsFunc(all, func(k grant) bool { return k.text == g.text }) {
					all = append(all, g)
				}
			}
		}
	}
	slices.SortStableFunc(all, func(x, y grant) int {
		if x.power != y.power {
			return y.power - x.power
		}
		return strings.Compare(x.text, y.text)
	})
	texts := make([]string, 0, len(all))
	for _, g := range all {
		if strings.HasPrefix(g.text, everything) && len(texts) == 0 && !strings.Contains(g.text, " in ") {
			return []string{g.text} // the rest is in it
		}
		texts = append(texts, g.text)
	}
	if len(texts) > maxGrants {
		texts = append(texts[:maxGrants], fmt.Sprintf("and %d more", len(all)-maxGrants))
	}
	return texts
}

const (
	everything = "everything"
	// maxGrants is how many lines an account gets.
	maxGrants = 6
)

type grant struct {
	text  string
	power int
}

// grants says what a rule allows.
func grants(rule *rbacv1.PolicyRule) []grant {
	all := func(list []string) bool { return slices.Contains(list, "*") }
	verbs := strings.Join(rule.Verbs, ",")
	if all(rule.Verbs) {
		verbs = "do anything with"
	}
	if len(rule.NonResourceURLs) > 0 && len(rule.Resources) == 0 {
		return []grant{{text: verbs + " " + strings.Join(rule.NonResourceURLs, ",")}}
	}
	if all(rule.Verbs) && all(rule.Resources) && all(rule.APIGroups) {
		return []grant{{text: everything, power: 5}}
	}
	var out []grant
	for _, resource := range rule.Resources {
		g := grant{text: verbs + " " + resource, power: power(rule, resource)}
		if len(rule.ResourceNames) > 0 {
			g.text += " named " + strings.Join(rule.ResourceNames, ",")
			g.power = min(g.power, 1)
		}
		out = append(out, g)
	}
	return out
}

// power ranks what leads to more rights (Kubernetes' "RBAC good practices").
func power(rule *rbacv1.PolicyRule, resource string) int {
	has := func(verbs ...string) bool {
		return slices.ContainsFunc(rule.Verbs, func(v string) bool { return v == "*" || slices.Contains(verbs, v) })
	}
	switch {
	case has("escalate", "bind", "impersonate") && !slices.Contains(rule.Verbs, "*"):
		return 4
	case resource == "*":
		return 4
	case resource == "secrets" && has("get", "list", "watch"), resource == "serviceaccounts/token" && has("create"),
		resource == "pods/exec" && has("create", "get"), resource == "nodes/proxy":
		return 3
	case has("create", "update", "patch", "delete", "deletecollection"):
		return 2
	}
	return 1
}
