package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/cmd/kubectl-tokenward/app"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/test/e2e/harness"
)

const checkedManifests = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      serviceAccountName: web
      automountServiceAccountToken: false
      containers:
      - name: c
        env:
        - {name: A, valueFrom: {secretKeyRef: {name: live, key: user}}}
        - {name: B, valueFrom: {secretKeyRef: {name: live, key: password}}}
        envFrom:
        - secretRef: {name: written}
        - secretRef: {name: gone}
---
apiVersion: v1
kind: Secret
metadata: {name: written}
`

// checked runs "check --live" and returns its findings, a line each.
func checked(t *testing.T, kubeconfig, namespace string, args ...string) (status int, lines []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(file, []byte(checkedManifests), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	args = append([]string{"check", "--live", "--kubeconfig=" + kubeconfig, "-n", namespace, "-f", file, "-o", "json"}, args...)
	status = app.Main(t.Context(), args, &out, &errOut)
	var r struct {
		Results []struct {
			Check, Action, State string
			Object               report.About
			Source               struct{ Line int }
		}
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s%s", err, out.String(), errOut.String())
	}
	for _, f := range r.Results {
		lines = append(lines, fmt.Sprintf("%s %s %s %s line %d", f.Action, f.Check, f.State, f.Object, f.Source.Line))
	}
	return status, lines
}

func TestCheckAgainstALiveCluster(t *testing.T) {
	namespace := env.NewNamespace(t)
	env.CreateSecret(t, namespace, "live", "user")
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	if _, err := env.Client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	secret := "Secret " + namespace + "/"
	want := []string{
		"Warn secret-exists absent " + secret + "gone line 16",
		"Warn secret-key-exists absent " + secret + "live line 13",
	}
	status, got := checked(t, env.Plane.Kubeconfig, namespace)
	if status != 1 || !slices.Equal(got, want) {
		t.Errorf("by the defaults: status %d, got %q, want %q", status, got, want)
	}

	env.MustCreatePolicy(t, `
apiVersion: tokenward.dev/v1alpha1
kind: TokenPolicy
metadata: {name: checked-live}
spec:
  match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: `+namespace+`}}}
  checks: [{name: secret-exists, action: Deny}, {name: secret-key-exists, action: None}]
`)
	status, got = checked(t, env.Plane.Kubeconfig, namespace, "--fail-on=Deny")
	want[0] = "Deny secret-exists absent " + secret + "gone line 16" // and the default warns on
	if status != 1 || !slices.Equal(got, want) {
		t.Errorf("by the policies of the cluster: status %d, got %q, want %q", status, got, want)
	}

	// Who may read nothing learns that nothing is known.
	_, blind, err := env.Plane.As("blind-" + namespace)
	if err != nil {
		t.Fatal(err)
	}
	status, got = checked(t, blind, namespace, "--policy-file="+harness.PolicyFile(t, harness.SecretExistsPolicy("Deny", "")))
	for _, line := range got {
		if !bytes.Contains([]byte(line), []byte(" unknown ")) {
			t.Errorf("without rights nothing is known to be missing: %s", line)
		}
	}
	if status != 0 || len(got) == 0 {
		t.Errorf("without rights: status %d, got %q", status, got)
	}
	var out, errOut bytes.Buffer
	file := harness.PolicyFile(t, checkedManifests)
	if status := app.Main(t.Context(), []string{"check", "--live", "--kubeconfig=" + blind, "-f", file}, &out, &errOut); status != 2 {
		t.Errorf("without the right to read policies: status %d: %s", status, out.String())
	}
	harness.MustContain(t, errOut.String(), "the cluster's TokenPolicies: ", "forbidden", "give --policy-file to judge by other policies")
}
