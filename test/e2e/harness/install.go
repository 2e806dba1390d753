package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime/pkg/client"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/cluster"
)

// installation is a release of the chart in a control plane, but for what runs:
// that is a process of the test, under the name and with the rights of the
// release's account.
type installation struct {
	release    chart.Release
	objects    chart.Objects
	config     *rest.Config // the webhook's
	kubeconfig string       // the same
}

// install brings the rights of a release into a control plane, and waits until
// they are in force. They stay until the control plane stops.
func install(ctx context.Context, where *cluster.Cluster, release chart.Release) (*installation, error) {
	objects, err := release.Render(ctx)
	if err != nil {
		return nil, err
	}
	i := &installation{release: release, objects: objects}
	if i.config, i.kubeconfig, err = where.As(release.User(), release.Groups()...); err != nil {
		return nil, err
	}
	admin, err := kubernetes.NewForConfig(where.Config)
	if err != nil {
		return nil, err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: release.Namespace}}
	if _, err := admin.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	objectClient, err := ctrl.New(where.Config, ctrl.Options{})
	if err != nil {
		return nil, err
	}
	for _, o := range objects.Of("ServiceAccount", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "Lease", "Secret") {
		if err := objectClient.Apply(ctx, ctrl.ApplyConfigurationFromUnstructured(o.DeepCopy()), ctrl.FieldOwner("e2e")); err != nil {
			return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return i, i.waitForRights(ctx, admin)
}

// installIn is install in a test.
func installIn(t *testing.T, where *cluster.Cluster, release chart.Release) *installation {
	t.Helper()
	i, err := install(t.Context(), where, release)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// waitForRights returns when the API server knows every rule: it learns of roles
// and bindings by watches of its own.
func (i *installation) waitForRights(ctx context.Context, admin kubernetes.Interface) error {
	rules, err := i.rules()
	if err != nil {
		return err
	}
	for _, r := range rules {
		err := cluster.Eventually(ctx, patience, func(ctx context.Context) error {
			review, err := admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
				Spec: authorizationv1.SubjectAccessReviewSpec{
					User: i.release.User(), Groups: i.release.Groups(),
					ResourceAttributes: &authorizationv1.ResourceAttributes{
						Namespace: r.namespace, Verb: r.verb, Group: r.group, Resource: r.resource, Subresource: r.subresource, Name: r.name,
					},
				},
			}, metav1.CreateOptions{})
			if err == nil && !review.Status.Allowed {
				err = fmt.Errorf("not in force: %s", r)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// right is one verb on one resource.
type right struct {
	namespace, verb, group, resource, subresource, name string
}

func (r right) String() string {
	text := r.verb + " " + r.resource
	if r.subresource != "" {
		text += "/" + r.subresource
	}
	if r.group != "" {
		text += "." + r.group
	}
	if r.name != "" {
		text += " " + r.name
	}
	if r.namespace != "" {
		text += " in namespace " + r.namespace
	}
	return text
}

// rules returns every right that the release gives its account.
func (i *installation) rules() ([]right, error) {
	roles := map[string][]rbacv1.PolicyRule{} // by kind, namespace and name
	key := func(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }
	for _, u := range i.objects.Of("ClusterRole", "Role") {
		var role rbacv1.Role // a ClusterRole has all its fields
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &role); err != nil {
			return nil, err
		}
		roles[key(u.GetKind(), role.Namespace, role.Name)] = role.Rules
	}
	var all []right
	for _, u := range i.objects.Of("ClusterRoleBinding", "RoleBinding") {
		var binding rbacv1.RoleBinding
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &binding); err != nil {
			return nil, err
		}
		if !slices.Contains(binding.Subjects, rbacv1.Subject{Kind: "ServiceAccount", Namespace: i.release.Namespace, Name: i.release.Fullname()}) {
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
func expand(namespace string, rule rbacv1.PolicyRule) []right {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	var all []right
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			resource, subresource, _ := strings.Cut(resource, "/")
			for _, verb := range rule.Verbs {
				for _, name := range names {
					all = append(all, right{namespace, verb, group, resource, subresource, name})
				}
			}
		}
	}
	return all
}

// validating returns the release's configuration of validating webhooks.
func (i *installation) validating() (*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	return chart.Into[admissionregistrationv1.ValidatingWebhookConfiguration](i.objects, "ValidatingWebhookConfiguration")
}

// mutating returns the release's configuration of mutating webhooks.
func (i *installation) mutating() (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	return chart.Into[admissionregistrationv1.MutatingWebhookConfiguration](i.objects, "MutatingWebhookConfiguration")
}
