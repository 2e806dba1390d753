package tokens

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// verified is what token verify says of one token.
type verified struct {
	Verdict, Reason, Text, Cure string
	Live                        struct {
		Status int
		Text   string
	}
}

func readVerified(t *testing.T, r harness.Output) verified {
	t.Helper()
	var list struct{ Tokens []verified }
	if err := json.Unmarshal([]byte(r.Out), &list); err != nil || len(list.Tokens) != 1 {
		t.Fatalf("%v: %+v", err, r)
	}
	return list.Tokens[0]
}

// Token verify and the API server's own answer agree on every token,
// and no Secret is marked as used, but by --live.
func TestTokenVerifyAgrees(t *testing.T) {
	f := newField(t)
	tokens, unknown := f.everyToken(t)
	verdicts := map[string]verified{}
	for name, text := range tokens {
		r := harness.Tokenward(t, text, "token", "verify", "-o", "json", "--signing-key-settle=1s", "--kubeconfig="+f.plane.Kubeconfig)
		v := readVerified(t, r)
		if strings.Contains(r.Out+r.Err, text[strings.LastIndexByte(text, '.')+1:]) && !strings.HasSuffix(text, ".") {
			t.Errorf("%s: the signature is printed", name)
		}
		if want := map[bool]int{true: 0, false: 1}[v.Verdict == "valid"]; r.Status != want {
			t.Errorf("%s: %s, exit status %d", name, v.Verdict, r.Status)
		}
		if v.Verdict != "valid" && (v.Text == "" || v.Cure == "") {
			t.Errorf("%s: without a reason or a cure: %+v", name, v)
		}
		verdicts[name] = v
	}
	secrets, err := f.client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/legacy-token-last-used"})
	if err != nil || len(secrets.Items) > 0 {
		t.Errorf("%d Secrets are marked as used, %v", len(secrets.Items), err)
	}
	for _, name := range slices.Sorted(maps.Keys(tokens)) {
		accepted, ours := f.accepts(t, f.plane.Config.Host, tokens[name]), verdicts[name]
		t.Logf("%-24s API server: %-5t ours: %s %s", name, accepted, ours.Verdict, ours.Reason)
		want := map[bool]string{true: "valid", false: "invalid"}[accepted]
		if unknown[name] != "" {
			want = "unknown"
		}
		if ours.Verdict != want {
			t.Errorf("%s: ours is %s (%s), want %s", name, ours.Verdict, ours.Reason, want)
		}
	}
	for _, tt := range []struct {
		name    string
		status  int
		verdict string
		text    string
	}{
		{"good-rsa", 201, "valid", "system:serviceaccount:default:robot"},
		{"foreign-audience", 401, "invalid", "No Role or RoleBinding mends that"},
		{"stale-copy", 401, "invalid", "the token itself is refused"},
	} {
		r := harness.Tokenward(t, tokens[tt.name], "token", "verify", "--live", "-o", "json", "--kubeconfig="+f.plane.Kubeconfig)
		if v := readVerified(t, r); v.Live.Status != tt.status || v.Verdict != tt.verdict || !strings.Contains(v.Live.Text, tt.text) {
			t.Errorf("--live %s: %+v", tt.name, v)
		}
		if legacy := tt.name != "foreign-audience"; strings.Contains(strings.Join(strings.Fields(r.Err), " "), "is marked as used") != legacy {
			t.Errorf("--live %s: %s", tt.name, r.Err)
		}
	}
	// 403 is the answer to a good token without rights.
	if err := f.client.RbacV1().ClusterRoleBindings().Delete(t.Context(), "system:basic-user", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	harness.WaitUntil(t, func() error {
		v := readVerified(t, harness.Tokenward(t, tokens["bound"], "token", "verify", "--live", "-o", "json", "--kubeconfig="+f.plane.Kubeconfig))
		if v.Live.Status != 403 || v.Verdict != "valid" || !strings.Contains(v.Live.Text, "A RoleBinding mends that") {
			return errors.New(v.Live.Text)
		}
		return nil
	})
}
