package survey

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

func TestWhatAnAccountMayDo(t *testing.T) {
	rule := func(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{
			Verbs: strings.Split(verbs, ","), APIGroups: strings.Split(groups, ","), Resources: strings.Split(resources, ","), ResourceNames: names,
		}
	}
	account := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "shop", Name: "app"}
	group := func(name string) rbacv1.Subject { return rbacv1.Subject{Kind: rbacv1.GroupKind, Name: name} }
	r := &rights{
		roles: map[roleName][]rbacv1.PolicyRule{
			{"", "cluster-admin"}:      {rule("*", "*", "*")},
			{"", "system:discovery"}:   {{Verbs: []string{"get"}, NonResourceURLs: []string{"/api"}}},
			{"shop", "reader"}:         {rule("get,list", "", "pods,secrets")},
			{"shop", "one"}:            {rule("update", "", "configmaps", "lock")},
			{"", "of-all"}:             {rule("get", "", "nodes")},
			{"shop", "impersonator"}:   {rule("impersonate", "", "users")},
			{"elsewhere", "unrelated"}: {rule("get", "", "pods")},
		},
	}
	tests := []struct {
		name     string
		bindings []binding
		want     []string
	}{
		{"nothing beyond discovery is nothing", []binding{{"", roleName{"", "system:discovery"}, []rbacv1.Subject{group("system:authenticated")}}}, []string{}},
		{"a role in its namespace, Secrets first", []binding{{"shop", roleName{"shop", "reader"}, []rbacv1.Subject{account}}}, []string{"get,list secrets in shop", "get,list pods in shop"}},
		{"everything stands for the rest", []binding{
			{"shop", roleName{"shop", "reader"}, []rbacv1.Subject{account}}, {"", roleName{"", "cluster-admin"}, []rbacv1.Subject{account}},
		}, []string{"everything"}},
		{"everything in a namespace does not", []binding{
			{"", roleName{"", "of-all"}, []rbacv1.Subject{group("system:serviceaccounts:shop")}}, {"shop", roleName{"", "cluster-admin"}, []rbacv1.Subject{account}},
		}, []string{"everything in shop", "get nodes"}},
		{"one object by its name", []binding{{"shop", roleName{"shop", "one"}, []rbacv1.Subject{account}}}, []string{"update configmaps named lock in shop"}},
		{"by the user that it is", []binding{{"shop", roleName{"shop", "impersonator"}, []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "system:serviceaccount:shop:app"}}}}, []string{"impersonate users in shop"}},
		{"others' bindings are not its own", []binding{
			{"shop", roleName{"shop", "reader"}, []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "other", Name: "app"}, group("system:serviceaccounts:other")}},
		}, []string{}},
		{"a role that is gone gives nothing", []binding{{"shop", roleName{"shop", "gone"}, []rbacv1.Subject{account}}}, []string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.bindings = tt.bindings
			if got := r.summarize(accountName{"shop", "app"}); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestARoleThatIsNamedLikeDiscoveryIsNoDiscovery(t *testing.T) {
	r := &rights{
		roles: map[roleName][]rbacv1.PolicyRule{{"shop", "system:discovery"}: {{Verbs: []string{"get"}, Resources: []string{"secrets"}}}},
		bindings: []binding{{"shop", roleName{"shop", "system:discovery"}, []rbacv1.Subject{
			{Kind: rbacv1.ServiceAccountKind, Namespace: "shop", Name: "app"},
		}}},
	}
	if got := r.summarize(accountName{"shop", "app"}); !slices.Equal(got, []string{"get secrets in shop"}) {
		t.Errorf("got %q", got)
	}
}
