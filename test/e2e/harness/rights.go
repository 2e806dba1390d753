package harness

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Right is one verb on one resource.
type Right struct {
	Namespace, Verb, Group, Resource, Subresource, Name string
}

func (r Right) String() string {
	text := r.Verb + " " + r.Resource
	if r.Subresource != "" {
		text += "/" + r.Subresource
	}
	if r.Group != "" {
		text += "." + r.Group
	}
	if r.Name != "" {
		text += " " + r.Name
	}
	if r.Namespace != "" {
		text += " in namespace " + r.Namespace
	}
	return text
}

// Rules returns every right that the release gives its account.
func (i *Installation) Rules() ([]Right, error) {
	roles := map[string][]rbacv1.PolicyRule{} // by kind, namespace and name
	key := func(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }
	for _, u := range i.Objects.Of("ClusterRole", "Role") {
		var role rbacv1.Role // a ClusterRole has all its fields
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &role); err != nil {
			return nil, err
		}
		roles[key(u.GetKind(), role.Namespace, role.Name)] = role.Rules
	}
	var all []Right
	for _, u := range i.Objects.Of("ClusterRoleBinding", "RoleBinding") {
		var binding rbacv1.RoleBinding
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &binding); err != nil {
			return nil, err
		}
		if !slices.Contains(binding.Subjects, rbacv1.Subject{Kind: "ServiceAccount", Namespace: i.Release.Namespace, Name: i.Release.Fullname()}) {
			return nil, fmt.Errorf("%s %s binds somebody else: %v", u.GetKind(), u.GetName(), binding.Subjects)
		}
		rules, ok := roles[key(binding.RoleRef.Kind, binding.Namespace, binding.RoleRef.Name)]
		if !ok {
			return nil, fmt.Errorf("%s %s binds a role that there is not", u.GetKind(), u.GetName())
		}
		for _, rule := range rules {
			all = append(all, expand(binding.Namespace, rule)...)
		}
	}
	return all, nil
}

// expand returns the single rights of a rule.
func expand(namespace string, rule rbacv1.PolicyRule) []Right {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	var all []Right
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			resource, subresource, _ := strings.Cut(resource, "/")
			for _, verb := range rule.Verbs {
				for _, name := range names {
					all = append(all, Right{namespace, verb, group, resource, subresource, name})
				}
			}
		}
	}
	return all
}

// Covers reports whether a request stands on this right.
func (r Right) Covers(request Right) bool {
	return r.Verb == request.Verb && r.Group == request.Group && r.Resource == request.Resource && r.Subresource == request.Subresource &&
		(r.Namespace == "" || r.Namespace == request.Namespace) && (r.Name == "" || r.Name == request.Name)
}
