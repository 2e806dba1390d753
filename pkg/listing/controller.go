package listing

import (
	"context"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
)

// Controller reads the metadata of an owner and returns who controls it; nil if
// nobody does or that is unknown. The resource is guessed from the kind: where the
// guess is wrong, or the right to read it is missing, the chain ends here. mayExist
// is false if there is no such owner: whoever may write a pod may write any owner
// into it.
func (l *Lister) Controller(ctx context.Context, namespace string, owner *metav1.OwnerReference) (controller *metav1.OwnerReference, mayExist bool) {
	kind := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind)
	if !isPossible(kind, owner) {
		return nil, false
	}
	resource, _ := meta.UnsafeGuessKindToResource(kind)
	object, err := l.Metadata.Resource(resource).Namespace(namespace).Get(ctx, owner.Name, metav1.GetOptions{})
	if err == nil {
		return metav1.GetControllerOf(object), object.UID == owner.UID
	}
	switch why := cluster.Unanswered(owner.Name, err); {
	case why.State == facts.Absent:
		return nil, false
	case why.Why == facts.Forbidden, why.Why == facts.NotServed:
		return nil, l.mayServe(ctx, kind)
	}
	return nil, true
}

// mayServe reports whether the API server has a kind, or does not say.
func (l *Lister) mayServe(ctx context.Context, kind schema.GroupVersionKind) bool {
	url := []string{"/apis", kind.Group, kind.Version}
	if kind.Group == "" {
		url = []string{"/api", kind.Version}
	}
	served := &metav1.APIResourceList{}
	if err := l.Core.Discovery().RESTClient().Get().AbsPath(url...).Do(ctx).Into(served); err != nil {
		return cluster.WhyNot(err) != facts.NotServed
	}
	return slices.ContainsFunc(served.APIResources, func(r metav1.APIResource) bool { return r.Kind == kind.Kind && !strings.Contains(r.Name, "/") })
}

// isPossible reports whether an object can be called what a reference calls it. API
// servers take references that name what none of them can have, and the client puts
// names into paths as they are.
func isPossible(kind schema.GroupVersionKind, owner *metav1.OwnerReference) bool {
	name := len(owner.Name) <= validation.DNS1123SubdomainMaxLength && len(content.IsPathSegmentName(owner.Name)) == 0
	uid := len(validation.IsDNS1123Subdomain(string(owner.UID))) == 0
	group := kind.Group == "" || len(validation.IsDNS1123Subdomain(kind.Group)) == 0
	return name && uid && group && len(validation.IsDNS1035Label(kind.Version)) == 0 && len(validation.IsDNS1035Label(strings.ToLower(kind.Kind))) == 0
}
