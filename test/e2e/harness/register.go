package harness

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/cluster"
)

// Register sends the API server's reviews about some namespaces to this process.
func (e *Env) Register(t *testing.T, s *Server, namespaces ...string) {
	t.Helper()
	e.RegisterAt(t, "https://127.0.0.1:"+strconv.Itoa(s.Port), s.CA, metav1.LabelSelectorRequirement{
		Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: namespaces,
	})
	e.waitRegistered(t, s, namespaces)
}

// RegisterAt installs the webhook configuration that users install for a
// server at a URL, limited to some namespaces; or, without a requirement, the
// part of it that is about policies.
func (e *Env) RegisterAt(t *testing.T, url string, ca []byte, where ...metav1.LabelSelectorRequirement) {
	t.Helper()
	config := e.Webhooks(t)
	config.GenerateName, config.Name = "tokenward-", ""
	config.Webhooks = slices.DeleteFunc(config.Webhooks, func(w admissionregistrationv1.ValidatingWebhook) bool {
		return (w.NamespaceSelector == nil) != (len(where) == 0)
	})
	for i := range config.Webhooks {
		w := &config.Webhooks[i]
		at := url + *w.ClientConfig.Service.Path
		w.ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: &at, CABundle: ca}
		if w.NamespaceSelector != nil {
			w.NamespaceSelector.MatchExpressions = append(w.NamespaceSelector.MatchExpressions, where...)
		}
		fail := admissionregistrationv1.Fail // so that no test passes because the webhook was not asked
		w.FailurePolicy = &fail
	}
	api := e.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	made, err := api.Create(t.Context(), config, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Delete(context.Background(), made.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
}

// RegisterMutating installs the chart's mutating webhook for a server at a URL,
// limited to some namespaces.
func (e *Env) RegisterMutating(t *testing.T, url string, ca []byte, onFailure admissionregistrationv1.FailurePolicyType, where ...metav1.LabelSelectorRequirement) {
	t.Helper()
	config, err := e.Standard.Mutating()
	if err != nil {
		t.Fatal(err)
	}
	config.GenerateName, config.Name = "tokenward-", ""
	for i := range config.Webhooks {
		w := &config.Webhooks[i]
		at := url + *w.ClientConfig.Service.Path
		w.ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: &at, CABundle: ca}
		w.NamespaceSelector.MatchExpressions = append(w.NamespaceSelector.MatchExpressions, where...)
		w.FailurePolicy = &onFailure
	}
	e.CreateMutating(t, config)
}

// CreateMutating installs a configuration of mutating webhooks.
func (e *Env) CreateMutating(t *testing.T, config *admissionregistrationv1.MutatingWebhookConfiguration) {
	t.Helper()
	api := e.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	made, err := api.Create(t.Context(), config, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Delete(context.Background(), made.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
}

// waitRegistered waits until the API server asks this process about pods.
func (e *Env) waitRegistered(t *testing.T, s *Server, namespaces []string) {
	t.Helper()
	err := cluster.Eventually(t.Context(), Patience, func(ctx context.Context) error {
		_, err := e.Client.CoreV1().Pods(namespaces[0]).Create(ctx, Pod("probe"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && !apierrors.IsForbidden(err) {
			return err
		}
		if s.Metric(t, "tokenward_reviews_total") == 0 {
			return fmt.Errorf("no review has arrived")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Webhooks returns the validating webhooks of the standard release.
func (e *Env) Webhooks(t *testing.T) *admissionregistrationv1.ValidatingWebhookConfiguration {
	t.Helper()
	config, err := e.Standard.Validating()
	if err != nil {
		t.Fatal(err)
	}
	return config
}
