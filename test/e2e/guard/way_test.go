package guard

import (
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// Each of these deletes what a policy denies to delete, under the failurePolicy Fail.
func TestNothingIsHeldUp(t *testing.T) {
	_, ns := guarded(t)
	ctx := t.Context()
	api := env.Client.CoreV1()
	gone := func(t *testing.T, name string) {
		t.Helper()
		harness.WaitUntil(t, func() error {
			if _, err := api.Secrets(ns).Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("Secret %s is still there: %w", name, err)
			}
			return nil
		})
	}
	use := func(t *testing.T, name string) {
		t.Helper()
		if _, err := api.Pods(ns).Create(ctx, harness.Pod("uses-"+name, harness.SecretVolume(name, false)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("the garbage collector", func(t *testing.T) {
		owner, err := api.ConfigMaps(ns).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = api.Secrets(ns).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "owned", OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID},
		}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		use(t, "owned")
		if err := api.ConfigMaps(ns).Delete(ctx, owner.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		gone(t, "owned")
	})
	t.Run("what Helm keeps of releases, and tokens for new nodes", func(t *testing.T) {
		for name, kind := range map[string]corev1.SecretType{"release": "helm.sh/release.v1", "bootstrap": corev1.SecretTypeBootstrapToken} {
			if _, err := api.Secrets(ns).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: kind}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			use(t, name)
			if err := api.Secrets(ns).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("a deletecollection", func(t *testing.T) {
		for i := range 5 {
			env.CreateSecret(t, ns, fmt.Sprintf("many-%d", i), "k")
		}
		use(t, "many-2")
		if err := api.Secrets(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		gone(t, "many-4")
	})
	t.Run("the token Secrets of an account that is deleted", func(t *testing.T) {
		no := false
		made, err := api.ServiceAccounts(ns).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}, AutomountServiceAccountToken: &no}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		secret := tokenSecret("robot-token", "robot")
		if _, err := api.Secrets(ns).Create(ctx, secret, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
			t.Fatalf("token-secret-created: want a refusal, got %v", err)
		}
		made.Annotations = map[string]string{"tokenward.dev/allow-deletion": string(made.UID)}
		if _, err := api.ServiceAccounts(ns).Update(ctx, made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := api.ServiceAccounts(ns).Delete(ctx, "robot", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("a namespace with what uses its Secrets", func(t *testing.T) {
		env.CreateSecret(t, ns, "last", "k")
		if _, err := env.Client.AppsV1().Deployments(ns).Create(ctx, harness.Deployment("outlives", 1, harness.SecretVolume("last", false)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := api.Namespaces().Delete(ctx, ns, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		harness.WaitUntil(t, func() error {
			pods, err := api.Pods(ns).List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			for i := range pods.Items { // no kubelet ends them
				_ = api.Pods(ns).Delete(ctx, pods.Items[i].Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
			}
			if _, err := api.Namespaces().Get(ctx, ns, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return errors.Join(errors.New("the namespace is still there"), err)
			}
			return nil
		})
	})
}
