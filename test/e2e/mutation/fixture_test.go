package mutation

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// waitMutating waits until the API server asks the mutating webhooks, and ours.
func waitMutating(t *testing.T, s *harness.Server) {
	t.Helper()
	ns := newLabelledNamespace(t, map[string]string{"mutation": "none", "other-webhook": "sidecar"})
	err := cluster.Eventually(t.Context(), harness.Patience, func(ctx context.Context) error {
		p, err := env.Client.CoreV1().Pods(ns).Create(ctx, harness.Pod("probe"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err
		}
		if len(p.Spec.Containers) < 2 || s.Metric(t, "tokenward_reviews_total", `path="/mutate/pods"`) == 0 || s.Metric(t, "tokenward_reviews_total", `path="/validate/pods"`) == 0 {
			return errors.New("not all webhooks are asked yet")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// otherWebhooks serves two mutating webhooks of somebody else's: one before ours
// writes the whole pod anew, and one after ours adds a sidecar with a token.
func otherWebhooks(t *testing.T) {
	t.Helper()
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	url, ca := harness.ServeTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		var p corev1.Pod
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || json.Unmarshal(review.Request.Object.Raw, &p) != nil {
			http.Error(w, "no review", http.StatusBadRequest)
			return
		}
		var patch []operation
		switch {
		case r.URL.Path == "/remarshal":
			patch = []operation{{"replace", "/metadata", p.ObjectMeta}, {"replace", "/spec", p.Spec}}
		case !slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return c.Name == "sidecar" }):
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
				Name: "sidecar", Image: "example.test/sidecar:1", VolumeMounts: []corev1.VolumeMount{{Name: "credentials", MountPath: "/credentials"}},
			})
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{
				Name: "credentials", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "runner-token"}},
			})
			patch = []operation{{"add", "/spec/containers", p.Spec.Containers}, {"add", "/spec/volumes", p.Spec.Volumes}}
		}
		response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		if len(patch) > 0 {
			text, _ := json.Marshal(patch)
			kind := admissionv1.PatchTypeJSONPatch
			response.Patch, response.PatchType = text, &kind
		}
		_ = json.NewEncoder(w).Encode(&admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
	}))
	none, ignore, path := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail, ""
	for name, label := range map[string]string{"aaa-before-us": "remarshal", "zzz-after-us": "sidecar"} {
		path = url + "/" + label
		at := path
		env.CreateMutating(t, &admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Webhooks: []admissionregistrationv1.MutatingWebhook{{
				Name: label + ".example.test", AdmissionReviewVersions: []string{"v1"}, SideEffects: &none, FailurePolicy: &ignore,
				ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: &at, CABundle: ca},
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"other-webhook": label}},
				Rules: []admissionregistrationv1.RuleWithOperations{{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
				}},
			}},
		})
	}
}

func newLabelledNamespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	ns, err := env.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-", Labels: labels}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	env.WaitForAccount(t, ns.Name)
	t.Cleanup(func() {
		_ = env.Client.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
	})
	return ns.Name
}

func makeAccount(t *testing.T, namespace string, account corev1.ServiceAccount) {
	t.Helper()
	if _, err := env.Client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// pullBy gives an account a pull secret, and waits until pods get it.
func pullBy(t *testing.T, namespace, account, secret string) {
	t.Helper()
	patch := []byte(`{"imagePullSecrets": [{"name": "` + secret + `"}]}`)
	if _, err := env.Client.CoreV1().ServiceAccounts(namespace).Patch(t.Context(), account, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	err := cluster.Eventually(t.Context(), harness.Patience, func(ctx context.Context) error {
		// Of another account than the one that is set, and so not changed.
		p, err := env.Client.CoreV1().Pods(namespace).Create(ctx, harness.Pod("probe", func(s *corev1.PodSpec) { s.ServiceAccountName = account }), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && len(p.Spec.ImagePullSecrets) == 0 {
			err = errors.New("the plugin does not know yet")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// makeTokenSecret makes a token Secret and waits until it is filled.
func makeTokenSecret(t *testing.T, namespace, name, account string) {
	t.Helper()
	secrets := env.Client.CoreV1().Secrets(namespace)
	_, err := secrets.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: account}}, Type: corev1.SecretTypeServiceAccountToken,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = cluster.Eventually(t.Context(), harness.Patience, func(ctx context.Context) error {
		s, err := secrets.Get(ctx, name, metav1.GetOptions{})
		if err == nil && len(s.Data["token"]) == 0 {
			err = errors.New("not filled yet")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
