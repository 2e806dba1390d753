package tokens

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/servingcert"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// Our verdict and the API server's own answer agree on every token; and
// nothing that the webhook does leaves a mark on a Secret.
func TestVerdictsAgree(t *testing.T) {
	f := newField(t)
	tokens, unknown := f.everyToken(t)
	s := f.webhook(t, f.installed.Kubeconfig, "--signing-key-refresh=1s", "--signing-key-settle=2s")
	a := s.Asker(t)
	harness.WaitUntil(t, func() error { // until what is not published counts as gone
		if v := askVerdict(t, a, "foreign-key-own-kid"); v != "invalid" {
			return errors.New("the keys have not settled: " + v)
		}
		return nil
	})
	verdicts := map[string]string{}
	for name := range tokens {
		verdicts[name] = askVerdict(t, a, name)
	}
	secrets, err := f.client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/legacy-token-last-used"})
	if err != nil || len(secrets.Items) > 0 {
		t.Errorf("%d Secrets are marked as used, %v", len(secrets.Items), err)
	}
	for _, name := range slices.Sorted(maps.Keys(tokens)) {
		accepted, ours := f.accepts(t, f.plane.Config.Host, tokens[name]), verdicts[name]
		t.Logf("%-24s API server: %-5t ours: %s", name, accepted, ours)
		want := map[bool]string{true: "valid", false: "invalid"}[accepted]
		if why := unknown[name]; why != "" {
			want = "unknown"
		}
		if ours != want {
			t.Errorf("%s: ours is %s, want %s", name, ours, want)
		}
	}
	// The label does appear when a token is used: the test above could fail.
	harness.WaitUntil(t, func() error {
		secrets, err := f.client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/legacy-token-last-used"})
		if err == nil && len(secrets.Items) == 0 {
			err = errors.New("no Secret is marked as used")
		}
		return err
	})
}

// After the signing key has changed the old token is refused once that
// is settled; re-issued as the message says, it is admitted.
func TestSigningKeyRotation(t *testing.T) {
	f := newField(t)
	before := f.tokenSecret(t, "robot-token", "robot")
	s := f.webhook(t, f.installed.Kubeconfig, "--signing-key-refresh=1s", "--signing-key-settle=4s")
	a := s.Asker(t)
	if v := askVerdict(t, a, "robot-token"); v != "valid" {
		t.Fatalf("before the rotation: %s", v)
	}
	private, public, _ := f.newRSA(t, "new")
	if err := f.plane.UseSigningKey(private, public); err != nil {
		t.Fatal(err)
	}
	if f.accepts(t, f.plane.Config.Host, before) {
		t.Fatal("the API server takes the old token")
	}
	harness.WaitUntil(t, func() error {
		if v := askVerdict(t, a, "robot-token"); v != "invalid" {
			return errors.New("not settled: " + v)
		}
		return nil
	})
	r, err := a.Ask(t.Context(), harness.ReviewBody(t, harness.Pod("p", harness.SecretVolume("robot-token", false))))
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r.Result.Message)
	harness.MustContain(t, r.Result.Message, "its signing key is no longer accepted", "Remove data.token")
	if _, err := f.client.CoreV1().Secrets(home).Patch(t.Context(), "robot-token", types.JSONPatchType, []byte(`[{"op":"remove","path":"/data/token"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	after := f.filled(t, "robot-token", before)
	// Re-issued a moment before the pod, it passes.
	if v := askVerdict(t, a, "robot-token"); v != "valid" {
		t.Errorf("re-issued: %s", v)
	}
	if !f.accepts(t, f.plane.Config.Host, after) {
		t.Error("the API server refuses the new token")
	}
	if n := s.Metric(t, "tokenward_signing_keys"); n != 1 {
		t.Errorf("tokenward_signing_keys: got %v, want 1", n)
	}
}

// token-ca-current goes by the certificate that the API server presents.
func TestCACurrent(t *testing.T) {
	f := newField(t)
	f.tokenSecret(t, "robot-token", "robot")
	f.plane.StopControllers() // or they would write the new CA
	own, err := servingcert.NewSelfSigned([]string{"127.0.0.1", "localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := own.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	crt, key := harness.PEMPair(t, cert)
	certFile, keyFile := filepath.Join(f.dir, "other.crt"), filepath.Join(f.dir, "other.key")
	harness.WriteFile(t, certFile, crt)
	harness.WriteFile(t, keyFile, key)
	config := rest.CopyConfig(f.plane.Config)
	config.CAData = own.CA()
	other, err := f.plane.StartAnother(config, map[string][]string{"tls-cert-file": {certFile}, "tls-private-key-file": {keyFile}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Stop)
	policy := harness.PolicyFile(t, strings.Replace(harness.TokenDeny, "token-valid", "token-ca-current", 1))
	for _, tt := range []struct {
		address string
		ca      []byte
		want    bool
	}{
		{f.address(), f.plane.Config.CAData, true},
		{other.Address, own.CA(), false},
	} {
		s := harness.Launch(t, "--kubeconfig="+f.kubeconfigAt(t, tt.address, tt.ca), "--policy-file="+policy, "--log-level=error",
			"--signing-key-refresh=1s", "--signing-key-settle=2s")
		s.WaitReady(t)
		a := s.Asker(t)
		// Until the certificate is settled another API server may show another one.
		for end := time.Now().Add(4 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			r, err := a.Ask(t.Context(), harness.ReviewBody(t, harness.Pod("p", harness.SecretVolume("robot-token", false))))
			if err != nil {
				t.Fatal(err)
			}
			if !r.Allowed {
				t.Log(r.Result.Message)
				harness.MustContain(t, r.Result.Message, "token-ca-current", "ca.crt that does not verify")
			}
			if r.Allowed != tt.want && (tt.want || time.Now().After(end)) {
				t.Fatalf("API server at %s: allowed %t, want %t: %+v", tt.address, r.Allowed, tt.want, r.Result)
			}
			if !r.Allowed || time.Now().After(end) {
				break
			}
		}
	}
}
