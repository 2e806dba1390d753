package harness

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/test/cluster"
)

// PolicyFile writes TokenPolicies to a file.
func PolicyFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policies.yaml")
	WriteFile(t, path, []byte(text))
	return path
}

// SecretExistsPolicy is a policy that sets one check's action, and takes the place
// of the built-in one.
func SecretExistsPolicy(action, more string) string {
	return "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: default}\nspec:\n" +
		"  checks: [{name: secret-exists, action: " + action + "}]\n" + more
}

// StrictPolicy denies whatever is missing, and whatever is unknown.
const StrictPolicy = `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: strict}, spec: {
checks: [{name: secret-exists, action: Deny, onUnknown: Deny}, {name: secret-key-exists, action: Deny, onUnknown: Deny}, {name: config-map-exists, action: Deny, onUnknown: Deny}]}}`

// Policies returns a client of TokenPolicies, and what the API server warns about.
func (e *Env) Policies(t *testing.T) (dynamic.ResourceInterface, *Warnings) {
	t.Helper()
	config, seen := e.WarnedConfig()
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.TokenPolicyResource)), seen
}

// Documents splits a file of policies.
func Documents(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, part := range strings.Split(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(part), &u.Object); err != nil {
			t.Fatal(err)
		}
		out = append(out, u)
	}
	return out
}

// CreatePolicy writes a TokenPolicy as kubectl does: strictly.
func (e *Env) CreatePolicy(t *testing.T, u *unstructured.Unstructured) ([]string, error) {
	t.Helper()
	api, seen := e.Policies(t)
	_, err := api.Create(t.Context(), u, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err == nil {
		t.Cleanup(func() { e.DeletePolicy(t, u.GetName()) })
	}
	return seen.Lines, err
}

// DeletePolicy deletes a TokenPolicy, if it is there.
func (e *Env) DeletePolicy(t *testing.T, name string) {
	t.Helper()
	api, _ := e.Policies(t)
	if err := api.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

// MustCreatePolicy writes the TokenPolicies of a file.
func (e *Env) MustCreatePolicy(t *testing.T, text string) {
	t.Helper()
	for _, u := range Documents(t, text) {
		if _, err := e.CreatePolicy(t, u); err != nil {
			t.Fatal(err)
		}
	}
}

// WaitStatus waits until a policy's status fits, and returns it.
func (e *Env) WaitStatus(t *testing.T, name string, fits func(*v1alpha1.TokenPolicy) error) *v1alpha1.TokenPolicy {
	t.Helper()
	api, _ := e.Policies(t)
	p := &v1alpha1.TokenPolicy{}
	err := cluster.Eventually(t.Context(), Patience, func(ctx context.Context) error {
		u, err := api.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		*p = v1alpha1.TokenPolicy{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, p); err != nil {
			return err
		}
		if p.Status.ObservedGeneration != p.Generation {
			return fmt.Errorf("TokenPolicy %s: generation %d is not observed", name, p.Generation)
		}
		return fits(p)
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Ready wants the condition Ready to have a status, and parts in its message.
func Ready(status metav1.ConditionStatus, parts ...string) func(*v1alpha1.TokenPolicy) error {
	return func(p *v1alpha1.TokenPolicy) error {
		c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil || c.Status != status {
			return fmt.Errorf("Ready is not %s: %+v", status, p.Status)
		}
		for _, part := range parts {
			if !strings.Contains(c.Message, part) {
				return fmt.Errorf("want %q in: %s", part, c.Message)
			}
		}
		return nil
	}
}

// TokenDeny refuses pods for tokens that are not accepted.
const TokenDeny = `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: tokens}, spec: {checks: [{name: token-valid, action: Deny}]}}`
