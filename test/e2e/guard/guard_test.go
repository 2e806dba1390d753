package guard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"tokenward.dev/tokenward/test/e2e/harness"
)

const inUse = `
apiVersion: tokenward.dev/v1alpha1
kind: TokenPolicy
metadata: {name: %[1]s}
spec:
  match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}}
  checks:
    - {name: secret-in-use, action: Deny}
    - {name: service-account-in-use, action: Deny}
    - {name: token-secret-created, action: Deny}
    - {name: account-automount, action: Deny}
`

// guarded returns two namespaces that a server is asked about, under the
// failurePolicy Fail, so that nothing passes because nobody was asked: in the first the
// built-in policy holds alone, in the second another one denies.
func guarded(t *testing.T) (warned, denied string) {
	t.Helper()
	warned, denied = env.NewNamespace(t), env.NewNamespace(t)
	s := env.StartWebhook(t)
	env.Register(t, s, warned, denied)
	env.MustCreatePolicy(t, fmt.Sprintf(inUse, denied))
	env.WaitStatus(t, denied, harness.Ready(metav1.ConditionTrue))
	for _, ns := range []string{warned, denied} {
		env.WaitForAccount(t, ns)
	}
	harness.WaitUntil(t, func() error { // the replica has the policy, too
		_, err := secretsOf(env.Client, denied).Create(t.Context(), tokenSecret("probe", "default"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !apierrors.IsForbidden(err) {
			return fmt.Errorf("the policy is not in force: %w", err)
		}
		return nil
	})
	return warned, denied
}

type secrets interface {
	Create(ctx context.Context, s *corev1.Secret, o metav1.CreateOptions) (*corev1.Secret, error)
}

func secretsOf(api kubernetes.Interface, namespace string) secrets {
	return api.CoreV1().Secrets(namespace)
}

func tokenSecret(name, account string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: account}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}
}

// users makes each kind of user of the Secret of the same name.
func users() map[string]func(t *testing.T, namespace, secret string) string {
	ctx := context.Background()
	spec := func(change func(*corev1.PodSpec)) corev1.PodTemplateSpec {
		p := harness.Pod("x", change)
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}}, Spec: p.Spec}
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	return map[string]func(t *testing.T, namespace, secret string) string{
		"deployment": func(t *testing.T, ns, secret string) string {
			_, err := env.Client.AppsV1().Deployments(ns).Create(ctx, harness.Deployment("web", 2, harness.SecretVolume(secret, false)), metav1.CreateOptions{})
			must(t, err)
			return `Deployment "web"`
		},
		"stateful-set": func(t *testing.T, ns, secret string) string {
			_, err := env.Client.AppsV1().StatefulSets(ns).Create(ctx, &appsv1.StatefulSet{
				ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: spec(harness.SecretVariable(secret, "k"))},
			}, metav1.CreateOptions{})
			must(t, err)
			return `StatefulSet "db"`
		},
		"cron-job": func(t *testing.T, ns, secret string) string {
			template := spec(harness.SecretVolume(secret, false))
			template.Spec.RestartPolicy = corev1.RestartPolicyNever
			_, err := env.Client.BatchV1().CronJobs(ns).Create(ctx, &batchv1.CronJob{
				ObjectMeta: metav1.ObjectMeta{Name: "nightly"},
				Spec:       batchv1.CronJobSpec{Schedule: "0 3 * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}}},
			}, metav1.CreateOptions{})
			must(t, err)
			return `CronJob "nightly" (no pod now)`
		},
		"bare-pod": func(t *testing.T, ns, secret string) string {
			_, err := env.Client.CoreV1().Pods(ns).Create(ctx, harness.Pod("alone", harness.SecretVolume(secret, false)), metav1.CreateOptions{})
			must(t, err)
			return `Pod "alone"`
		},
		"pull-secret": func(t *testing.T, ns, secret string) string {
			_, err := env.Client.CoreV1().Pods(ns).Create(ctx, harness.Pod("pulls", func(s *corev1.PodSpec) {
				s.ImagePullSecrets = []corev1.LocalObjectReference{{Name: secret}}
			}), metav1.CreateOptions{})
			must(t, err)
			return `Pod "pulls"`
		},
	}
}

func TestDeletionsAreWarnedAboutOrRefused(t *testing.T) {
	warned, denied := guarded(t)
	config, seen := env.WarnedConfig()
	api := kubernetes.NewForConfigOrDie(config)
	for name, makeUser := range users() {
		t.Run(name, func(t *testing.T) {
			for _, ns := range []string{warned, denied} {
				env.CreateSecret(t, ns, name, "k")
				env.CreateSecret(t, ns, name+"-optional", "k")
				who := makeUser(t, ns, name)
				seen.Lines = nil
				dry := metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
				asked := api.CoreV1().Secrets(ns).Delete(t.Context(), name, dry)
				err := api.CoreV1().Secrets(ns).Delete(t.Context(), name, metav1.DeleteOptions{})
				if (asked == nil) != (err == nil) {
					t.Errorf("a dry run is judged otherwise: %v, %v", asked, err)
				}
				text := strings.Join(seen.Lines, "\n")
				if ns == denied {
					if !apierrors.IsForbidden(err) {
						t.Fatalf("want a refusal, got %v", err)
					}
					text = err.Error()
					harness.MustContain(t, text, "tokenward.dev/allow-deletion=")
				} else if err != nil {
					t.Fatal(err)
				}
				harness.MustContain(t, text, "secret-in-use: ", who)
				if err := api.CoreV1().Secrets(ns).Delete(t.Context(), name+"-optional", metav1.DeleteOptions{}); err != nil {
					t.Errorf("a Secret that nobody needs: %v", err)
				}
			}
			allowByAnnotation(t, api, denied, name)
		})
	}
}

// allowByAnnotation deletes a Secret by the way through.
func allowByAnnotation(t *testing.T, api kubernetes.Interface, ns, name string) {
	t.Helper()
	s, err := api.CoreV1().Secrets(ns).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, uid := range []types.UID{"another", s.UID} {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"tokenward.dev/allow-deletion":%q}}}`, uid)
		if _, err := api.CoreV1().Secrets(ns).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := api.CoreV1().Secrets(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); (err == nil) != (uid == s.UID) {
			t.Errorf("annotated with %s: %v", uid, err)
		}
	}
}

func TestAccountsAreGuarded(t *testing.T) {
	_, ns := guarded(t)
	ctx := t.Context()
	no, yes := false, true
	accounts := env.Client.CoreV1().ServiceAccounts(ns)
	if _, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "open"}}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("account-automount: want a refusal, got %v", err)
	}
	made, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}, AutomountServiceAccountToken: &no}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	turned := made.DeepCopy()
	turned.AutomountServiceAccountToken = &yes
	if _, err := accounts.Update(ctx, turned, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("an account that is changed: want a refusal, got %v", err)
	}
	pod := harness.Pod("holds", harness.RunAs("robot"))
	pod.Spec.AutomountServiceAccountToken = &yes
	if _, err := env.Client.CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	err = accounts.Delete(ctx, "robot", metav1.DeleteOptions{})
	if !apierrors.IsForbidden(err) {
		t.Fatalf("want a refusal, got %v", err)
	}
	harness.MustContain(t, err.Error(), `service-account-in-use: Pod "holds" runs as account "robot"`, "refused at once")
	harness.WaitUntil(t, func() error {
		found := false
		err := env.EachEvent(func(e harness.AuditEvent) {
			found = found || (e.Verb == "delete" && e.ObjectRef.Namespace == ns && e.ObjectRef.Name == "robot" &&
				strings.Contains(e.Annotations["delete.serviceaccounts.tokenward.dev/findings"], `"subject":"Pod `+ns+`/holds"`))
		})
		if err == nil && !found {
			err = errors.New("the audit log does not tell")
		}
		return err
	})
	if err := env.Client.CoreV1().Pods(ns).Delete(ctx, "holds", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	if err := accounts.Delete(ctx, "robot", metav1.DeleteOptions{}); err != nil {
		t.Errorf("nobody runs as it any more: %v", err)
	}
}

func TestDeletionsAtOnceShareAListing(t *testing.T) {
	warned, _ := guarded(t)
	const many = 100
	for i := range many {
		env.CreateSecret(t, warned, fmt.Sprintf("s-%d", i), "k")
	}
	var group sync.WaitGroup
	var slowest time.Duration
	var mu sync.Mutex
	for i := range many {
		group.Go(func() {
			start := time.Now()
			err := env.Client.CoreV1().Secrets(warned).Delete(context.Background(), fmt.Sprintf("s-%d", i), metav1.DeleteOptions{})
			mu.Lock()
			defer mu.Unlock()
			if slowest = max(slowest, time.Since(start)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	lists := 0
	if err := env.EachEvent(func(e harness.AuditEvent) {
		if e.Verb == "list" && e.ObjectRef.Resource == "cronjobs" && e.ObjectRef.Namespace == warned {
			lists++
		}
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d deletions: %d looks, the slowest took %s", many, lists, slowest)
	if lists == 0 || lists > 20 {
		t.Errorf("%d looks for %d deletions at once", lists, many)
	}
}
