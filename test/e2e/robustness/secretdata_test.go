package robustness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// Secret data, also through kubectl apply's annotation, is kept nowhere: not
// in the heap, and in no log line, metric or answer.
func TestNoSecretByteStays(t *testing.T) {
	dir := t.TempDir()
	path, dump := filepath.Join(dir, "heapdump"), filepath.Join(dir, "dump")
	if err := harness.Build(path, "./test/e2e/robustness/heapdump"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HEAPDUMP", dump)
	ns := env.NewNamespace(t)
	// Some before the first list, some through the watch.
	for i := range markedBefore {
		if _, err := env.Client.CoreV1().Secrets(ns).Create(t.Context(), markedSecret(fmt.Sprintf("s-%d", i), i), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	tokens := tokenSecrets(t, ns, "before", tokensEach)
	s := harness.LaunchProgram(t, path, "--kubeconfig="+env.Standard.Kubeconfig)
	s.WaitReady(t)
	env.Register(t, s, ns)
	tokens = append(tokens, tokenSecrets(t, ns, "after", tokensEach)...)
	answers := askAboutTokens(t, ns) + askAboutSecrets(t, ns)
	// The newest responses stand in the buffers of open connections until others
	// take their place: let some come that are larger and have nothing to hide.
	var heap []byte
	rounds := 0
	harness.WaitUntil(t, func() error {
		rounds++
		plainTraffic(t, ns, rounds)
		_ = os.Remove(dump)
		if err := s.Command.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		harness.WaitUntil(t, func() (err error) { heap, err = os.ReadFile(dump); return err })
		if n := distinctMarkers(heap); n > leftovers {
			return fmt.Errorf("heap dump %d: the data of %d Secrets", rounds, n)
		}
		if n := signaturesIn(string(heap), tokens); n > leftovers/4 {
			return fmt.Errorf("heap dump %d: %d tokens", rounds, n)
		}
		return nil
	})
	mustBeClean(t, s, answers, tokens)
	// The dump is of this process: what it must know is there.
	if !bytes.Contains(heap, []byte("w-99")) {
		t.Error("the heap dump does not have the names of the Secrets")
	}
}

// leftovers allows for the receive buffers of open TLS connections, which keep
// up to 16 KB of what came last until something longer comes. Anything that is
// kept on purpose would be there for every Secret.
const leftovers, markedBefore, markedAfter, tokensEach = 60, 900, 100, 60

// mustBeClean looks for markers and tokens in all that the webhook says.
func mustBeClean(t *testing.T, s *harness.Server, answers string, tokens []string) {
	t.Helper()
	_, metrics := s.Get(s.Metrics, "/metrics")
	for where, text := range map[string]string{"log": s.Log.String(), "metrics": metrics, "answers": answers} {
		if n := strings.Count(text, "MARKER-"); n > 0 {
			t.Errorf("%s: %d markers", where, n)
		}
		if n := signaturesIn(text, tokens); n > 0 {
			t.Errorf("%s: %d tokens", where, n)
		}
		if text == "" {
			t.Errorf("%s: nothing to look into", where)
		}
	}
}

// markedSecret has a marker wherever a Secret has data, labels or annotations.
func markedSecret(name string, i int) *corev1.Secret {
	marker := fmt.Sprintf("MARKER-%d-d41d8cd98f00b204", i)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: `{"stringData":{"k":"` + marker + `"}}`, "a": marker},
			Labels:      map[string]string{"l": marker},
		},
		StringData: map[string]string{"k": marker},
	}
}

// askAboutTokens creates pods that use the token Secrets, and returns what is
// answered and recorded.
func askAboutTokens(t *testing.T, ns string) string {
	t.Helper()
	answers := ""
	for i := range tokensEach {
		p := harness.Pod(fmt.Sprintf("t-%d", i), harness.SecretVolume(fmt.Sprintf("before-%d", i), false), harness.SecretVariable(fmt.Sprintf("after-%d", i), "token"))
		lines, err := env.CreatePod(t, ns, p)
		if err != nil {
			t.Fatal(err)
		}
		found := env.AuditAnnotation(t, ns, p.Name, "findings")
		harness.MustContain(t, found, "token-in-environment") // it was looked into
		answers += strings.Join(lines, "\n") + found
	}
	return answers
}

// askAboutSecrets creates pods for Secrets that have been known for long and for
// Secrets that are new, and returns what is answered and recorded.
func askAboutSecrets(t *testing.T, ns string) string {
	t.Helper()
	answers := ""
	for i := range markedAfter {
		name := fmt.Sprintf("w-%d", i)
		if _, err := env.Client.CoreV1().Secrets(ns).Create(t.Context(), markedSecret(name, markedBefore+i), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		// Keys are read live, from the whole Secret.
		p := harness.Pod(name, harness.SecretVariable(name, "k"), harness.SecretVariable(fmt.Sprintf("s-%d", i), "k"), harness.SecretVariable(name, "gone"), harness.SecretVolume("gone", false))
		lines, err := env.CreatePod(t, ns, p)
		if err != nil {
			t.Fatal(err)
		}
		answers += strings.Join(lines, "\n") + env.AuditAnnotation(t, ns, name, "findings")
	}
	return answers
}

// tokenSecrets makes token Secrets of the account default and returns their tokens.
func tokenSecrets(t *testing.T, ns, name string, n int) []string {
	t.Helper()
	for i := range n {
		_, err := env.Client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", name, i), Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
			Type:       corev1.SecretTypeServiceAccountToken,
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	tokens := make([]string, n)
	for i := range n {
		harness.WaitUntil(t, func() error {
			s, err := env.Client.CoreV1().Secrets(ns).Get(t.Context(), fmt.Sprintf("%s-%d", name, i), metav1.GetOptions{})
			if err != nil {
				return err
			}
			if tokens[i] = string(s.Data["token"]); tokens[i] == "" {
				return errors.New("the token controller has not filled " + s.Name)
			}
			return nil
		})
	}
	return tokens
}

// signaturesIn counts the tokens whose signature is in a text: without it a
// token opens nothing.
func signaturesIn(text string, tokens []string) int {
	n := 0
	for _, token := range tokens {
		if strings.Contains(text, token[strings.LastIndex(token, ".")+1:]) {
			n++
		}
	}
	return n
}

// distinctMarkers counts the Secrets whose data is in a heap dump.
func distinctMarkers(heap []byte) int {
	found := map[string]bool{}
	for _, m := range regexp.MustCompile(`MARKER-\d+-`).FindAll(heap, -1) {
		found[string(m)] = true
	}
	return len(found)
}

// plainTraffic sends Secrets without markers through the watch and live reads.
func plainTraffic(t *testing.T, ns string, round int) {
	t.Helper()
	for i := range 10 {
		name := fmt.Sprintf("plain-%d-%d", round, i)
		plain := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"a": strings.Repeat("plain ", 5_000)}},
			StringData: map[string]string{"k": strings.Repeat("plain ", 5_000)},
		}
		if i%2 == 1 { // through the watch of token Secrets, too
			plain.Type = corev1.SecretTypeServiceAccountToken
			plain.Annotations[corev1.ServiceAccountNameKey] = "default"
		}
		if _, err := env.Client.CoreV1().Secrets(ns).Create(t.Context(), plain, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := env.CreatePod(t, ns, harness.Pod(name, harness.SecretVariable(name, "k"), harness.SecretVolume(name, false))); err != nil {
			t.Fatal(err)
		}
	}
}
