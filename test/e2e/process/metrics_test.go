package process

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// mayScrape binds an account to the ClusterRole that docs/monitoring.md gives.
func mayScrape(t *testing.T, namespace, account string) {
	t.Helper()
	role, err := env.Client.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "tokenward-metrics-"},
		Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	binding, err := env.Client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "tokenward-metrics-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = env.Client.RbacV1().ClusterRoleBindings().Delete(context.Background(), binding.Name, metav1.DeleteOptions{})
		_ = env.Client.RbacV1().ClusterRoles().Delete(context.Background(), role.Name, metav1.DeleteOptions{})
	})
}

func TestSecureMetricsAreForThoseWhoMayGetThem(t *testing.T) {
	s := startWebhookAs(t, []string{"--metrics-secure"}, append(readRights(),
		rbacv1.PolicyRule{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
		rbacv1.PolicyRule{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
	)...)
	allowed, other := env.NewNamespace(t), env.NewNamespace(t)
	mayScrape(t, allowed, "default")
	good := env.AccountToken(t, allowed)
	tests := []struct {
		name, authorization string
		code                int
	}{
		{"an account with the right", "Bearer " + good, http.StatusOK},
		{"the scheme in small letters", "bearer " + good, http.StatusOK},
		{"an account without it", "Bearer " + env.AccountToken(t, other), http.StatusForbidden},
		{"no token", "", http.StatusUnauthorized},
		{"an empty token", "Bearer ", http.StatusUnauthorized},
		{"a token that is not accepted", "Bearer " + good + "x", http.StatusUnauthorized},
		{"another scheme", "Basic " + good, http.StatusUnauthorized},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// The authorizer learns of a new binding by a watch.
			err := cluster.Eventually(t.Context(), harness.Patience, func(context.Context) error {
				code, body := s.Scrape(t, tt.authorization)
				if code != tt.code {
					return fmt.Errorf("got %d %.200s, want %d", code, body, tt.code)
				}
				if shown := strings.Contains(body, "tokenward_"); shown != (code == http.StatusOK) {
					return fmt.Errorf("%d, metrics shown: %v", code, shown)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	if strings.Contains(s.Log.String(), good) {
		t.Error("the token is in the log")
	}
	response, err := http.Get("http://127.0.0.1:" + strconv.Itoa(s.Metrics) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS: %s", response.Status)
	}
}

func TestSecureMetricsSayThatTheyCantTell(t *testing.T) {
	s := startWebhookAs(t, []string{"--metrics-secure"}, readRights()...)
	if code, body := s.Scrape(t, "Bearer x"); code != http.StatusServiceUnavailable {
		t.Errorf("got %d %s, want 503", code, body)
	}
	s.WaitLog(t, "who may read metrics")
	s.WaitLog(t, "tokenreviews")
}

// readRights are those that the webhook can't be ready without.
func readRights() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets", "configmaps", "serviceaccounts", "namespaces"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"tokenward.dev"}, Resources: []string{"tokenpolicies"}, Verbs: []string{"get", "list", "watch"}},
	}
}

// startWebhookAs runs the webhook as an account with rights of its own.
func startWebhookAs(t *testing.T, flags []string, rules ...rbacv1.PolicyRule) *harness.Server {
	t.Helper()
	ns := env.NewNamespace(t)
	role, err := env.Client.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "webhook-"}, Rules: rules}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	binding, err := env.Client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "webhook-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "default"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = env.Client.RbacV1().ClusterRoleBindings().Delete(context.Background(), binding.Name, metav1.DeleteOptions{})
		_ = env.Client.RbacV1().ClusterRoles().Delete(context.Background(), role.Name, metav1.DeleteOptions{})
	})
	config, err := clientcmd.LoadFromFile(env.Plane.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: env.AccountToken(t, ns)}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	s := harness.Launch(t, append([]string{"--kubeconfig=" + path}, flags...)...)
	s.WaitReady(t)
	return s
}
