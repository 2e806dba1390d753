package cli

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"tokenward.dev/tokenward/cmd/kubectl-tokenward/app"
	"tokenward.dev/tokenward/pkg/version"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// What the caller has no right to see is named, and is no fault of anybody's.
func TestAuditWithFewRightsSaysWhatItDidNotSee(t *testing.T) {
	ns := env.NewNamespace(t)
	user := "few-rights-of-" + ns
	create := metav1.CreateOptions{}
	_, err := env.Client.RbacV1().Roles(ns).Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "few"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"pods", "configmaps", "serviceaccounts"}, Verbs: []string{"list", "get"}},
			{APIGroups: []string{"apps"}, Resources: []string{"*"}, Verbs: []string{"list"}},
		},
	}, create)
	if err != nil {
		t.Fatal(err)
	}
	_, err = env.Client.RbacV1().RoleBindings(ns).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "few"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "few"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}, create)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), harness.Pod("p", harness.SecretVolume("gone", false), harness.ConfigVolume("lost")), create); err != nil {
		t.Fatal(err)
	}
	config, kubeconfig, err := env.Plane.As(user)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	harness.WaitUntil(t, func() error {
		_, err := theirs.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		return err
	})
	a := harness.Audited(t, kubeconfig, "-n", ns)
	incomplete := strings.Join(a.Incomplete, "\n")
	harness.MustContain(t, incomplete, "Secrets could not be read", "the namespace could not be read", "TokenPolicies could not be read", "roles and their bindings could not be read",
		"bind the ClusterRole system:service-account-issuer-discovery")
	for _, f := range harness.Findings(a)["Pod "+ns+"/p"] {
		if strings.HasPrefix(f, "secret-exists") && !strings.HasSuffix(f, " unknown") {
			t.Errorf("without the right to see Secrets: %s", f)
		}
	}
	harness.MustContain(t, strings.Join(harness.Findings(a)["Pod "+ns+"/p"], "\n"), "config-map-exists ConfigMap "+ns+"/lost absent", "secret-exists Secret "+ns+"/gone unknown")
}

// An audit that could look at nothing gives no clean bill.
func TestAuditThatSeesNothingFails(t *testing.T) {
	ns := env.NewNamespace(t)
	_, stranger, err := env.Plane.As("stranger-of-" + ns)
	if err != nil {
		t.Fatal(err)
	}
	unknown := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], "+
		"clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}], users: [{name: u, user: {token: nobodys}}]}",
		env.Plane.Config.Host, base64.StdEncoding.EncodeToString(env.Plane.Config.CAData))
	if err := os.WriteFile(unknown, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	defaults := "--policy-file=" + harness.PolicyFile(t, "")
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"a namespace that does not exist", []string{"--kubeconfig=" + env.Plane.Kubeconfig, "-n", "not-there"}, `namespaces "not-there" not found`},
		{"a caller without any right", []string{"--kubeconfig=" + stranger, "-n", ns}, "neither pods nor workloads may be listed"},
		{"a caller whom the API server does not know", []string{"--kubeconfig=" + unknown, "-A", defaults}, "Unauthorized"},
		{"the same in one namespace", []string{"--kubeconfig=" + unknown, "-n", ns, defaults}, "Unauthorized"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			status := app.Main(t.Context(), append([]string{"audit"}, tt.args...), &out, &errOut)
			if status != 2 || out.Len() > 0 || !strings.Contains(errOut.String(), tt.want) {
				t.Errorf("status %d, want 2; %q, want %q; %s", status, errOut.String(), tt.want, out.String())
			}
		})
	}
}

func TestAuditExitStatusAndFormats(t *testing.T) {
	ns := env.NewNamespace(t)
	if _, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), harness.Pod("p", harness.SecretVolume("gone", false)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ended, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), harness.Pod("ended", harness.SecretVolume("gone", false)), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ended.Status.Phase = corev1.PodSucceeded
	if _, err := env.Client.CoreV1().Pods(ns).UpdateStatus(t.Context(), ended, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--policy-file=" + harness.PolicyFile(t, harness.SecretExistsPolicy("Warn", ""))}, 1, "secret-exists, at the next restart"},
		{[]string{"--fail-on=deny"}, 0, "nobody makes this pod again"},
		{[]string{"--policy-file=" + harness.PolicyFile(t, harness.SecretExistsPolicy("Deny", "")), "--fail-on=deny", "-o", "sarif"}, 1, `"ruleId": "secret-exists"`},
		{[]string{"-o", "sarif"}, 1, `"version": "` + version.Get().Version + `",` + "\n          \"rules\""},
		{[]string{"-o", "junit"}, 1, "<testsuite"},
		{[]string{"-o", "yaml"}, 1, "kind: Audit"},
		{[]string{"-o", "wide"}, 1, "Secret " + ns + "/gone"},
		{[]string{"-o", "html"}, 1, "<!doctype html>"},
		{[]string{"-l", "app=other"}, 0, "nothing found"},
		{[]string{"--fail-on=None"}, 0, "1 pod and 0 templates judged"},
		{[]string{"-o", "xml"}, 2, ""},
		{[]string{"--fail-on=loud"}, 2, ""},
		{[]string{"--policy-file=/nonexistent"}, 2, ""},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			var out, errOut bytes.Buffer
			status := app.Main(t.Context(), append([]string{"audit", "--kubeconfig=" + env.Plane.Kubeconfig, "-n", ns}, tt.args...), &out, &errOut)
			if status != tt.status || (tt.status != 2) != (errOut.Len() == 0) {
				t.Errorf("status %d, want %d; %s", status, tt.status, errOut.String())
			}
			harness.MustContain(t, out.String(), tt.want)
		})
	}
}
