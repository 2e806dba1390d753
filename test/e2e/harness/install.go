package harness

import (
	"context"
	"fmt"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime/pkg/client"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/cluster"
)

// Installation is a release of the chart in a control plane, but for what runs:
// that is a process of the test, under the name and with the rights of the
// release's account.
type Installation struct {
	Release    chart.Release
	Objects    chart.Objects
	Config     *rest.Config // the webhook's
	Kubeconfig string       // the same
}

// installRelease brings the rights of a release into a control plane, and waits
// until they are in force. They stay until the control plane stops.
func installRelease(ctx context.Context, where *cluster.Cluster, release chart.Release) (*Installation, error) {
	objects, err := release.Render(ctx)
	if err != nil {
		return nil, err
	}
	i := &Installation{Release: release, Objects: objects}
	if i.Config, i.Kubeconfig, err = where.As(release.User(), release.Groups()...); err != nil {
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
	if err := i.apply(ctx, where, "ServiceAccount", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "Lease", "ConfigMap", "Secret",
		"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"); err != nil {
		return nil, err
	}
	return i, i.waitForRights(ctx, admin)
}

// apply applies the release's objects of some kinds.
func (i *Installation) apply(ctx context.Context, where *cluster.Cluster, kinds ...string) error {
	objectClient, err := ctrl.New(where.Config, ctrl.Options{})
	if err != nil {
		return err
	}
	for _, o := range i.Objects.Of(kinds...) {
		if err := objectClient.Apply(ctx, ctrl.ApplyConfigurationFromUnstructured(o.DeepCopy()), ctrl.FieldOwner("e2e")); err != nil {
			return fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

// Upgrade applies the release's objects of some kinds again, as an upgrade does.
func (i *Installation) Upgrade(t *testing.T, where *cluster.Cluster, kinds ...string) {
	t.Helper()
	if err := i.apply(t.Context(), where, kinds...); err != nil {
		t.Fatal(err)
	}
}

// Install brings the rights of a release into a control plane.
func Install(t *testing.T, where *cluster.Cluster, release chart.Release) *Installation {
	t.Helper()
	i, err := installRelease(t.Context(), where, release)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// waitForRights returns when the API server knows every rule: it learns of roles
// and bindings by watches of its own.
func (i *Installation) waitForRights(ctx context.Context, admin kubernetes.Interface) error {
	rules, err := i.Rules()
	if err != nil {
		return err
	}
	for _, r := range rules {
		err := cluster.Eventually(ctx, Patience, func(ctx context.Context) error {
			review, err := admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
				Spec: authorizationv1.SubjectAccessReviewSpec{
					User: i.Release.User(), Groups: i.Release.Groups(),
					ResourceAttributes: &authorizationv1.ResourceAttributes{
						Namespace: r.Namespace, Verb: r.Verb, Group: r.Group, Resource: r.Resource, Subresource: r.Subresource, Name: r.Name,
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

// Validating returns the release's configuration of validating webhooks.
func (i *Installation) Validating() (*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	return chart.Into[admissionregistrationv1.ValidatingWebhookConfiguration](i.Objects, "ValidatingWebhookConfiguration")
}

// Mutating returns the release's configuration of mutating webhooks.
func (i *Installation) Mutating() (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	return chart.Into[admissionregistrationv1.MutatingWebhookConfiguration](i.Objects, "MutatingWebhookConfiguration")
}
