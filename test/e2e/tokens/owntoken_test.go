package tokens

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// ownPolicies deny what is missing, everywhere; and what is unknown, in namespaces
// that the test has none of.
const ownPolicies = `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: all}, spec: {
checks: [{name: secret-exists, action: Deny}, {name: secret-key-exists, action: Deny}, {name: config-map-exists, action: Deny}]}}
---
{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: one-team}, spec: {match: {namespaceSelector: {matchLabels: {team: payments}}},
checks: [{name: secret-exists, action: Deny, onUnknown: Deny}, {name: secret-key-exists, action: Deny, onUnknown: Deny}]}}`

// deadFor is how long the test lets the webhook's own token be dead.
const deadFor = 30 * time.Second

// ownToken is the webhook's own token, in a file that the test renews.
type ownToken struct {
	*field
	file, kubeconfig string
}

func newOwnToken(t *testing.T) *ownToken {
	t.Helper()
	f := newField(t)
	o := &ownToken{field: f, file: filepath.Join(t.TempDir(), "token"), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	o.renew(t)
	config := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: f.plane.Config.Host, CertificateAuthorityData: f.plane.Config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {TokenFile: o.file}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}
	if err := clientcmd.WriteToFile(config, o.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return o
}

// renew does what the kubelet does: it replaces the file as a whole.
func (o *ownToken) renew(t *testing.T) {
	t.Helper()
	release := o.installed.Release
	user := strings.Split(release.User(), ":")
	made, err := o.client.CoreV1().ServiceAccounts(release.Namespace).CreateToken(t.Context(), user[len(user)-1], &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, o.file+".new", []byte(made.Status.Token))
	if err := os.Rename(o.file+".new", o.file); err != nil {
		t.Fatal(err)
	}
}

func (o *ownToken) launch(t *testing.T) *harness.Server {
	t.Helper()
	return harness.Launch(t, "--kubeconfig="+o.kubeconfig, "--log-level=info", "--leader-elect", "--pod-namespace="+o.installed.Release.Namespace)
}

func (o *ownToken) policies(t *testing.T) {
	t.Helper()
	c, err := dynamic.NewForConfig(o.plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range harness.Documents(t, ownPolicies) {
		if _, err := c.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.TokenPolicyResource)).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// ownLoad sends 50 reviews a second: of a pod that is good, and of one whose Secret
// is missing.
type ownLoad struct {
	reviews, refused, admitted atomic.Int64 // the latter two of the missing one
	strict                     atomic.Bool  // from now on what is missing must be refused
	group                      sync.WaitGroup
}

func (l *ownLoad) run(ctx context.Context, t *testing.T, a *harness.Asker) {
	t.Helper()
	good := harness.ReviewBody(t, harness.Pod("good", harness.SecretVolume("there", false), harness.SecretVariable("there", "k"), harness.ConfigVolume("kube-root-ca.crt")))
	bad := harness.ReviewBody(t, harness.Pod("bad", harness.SecretVolume("gone", false)))
	l.group.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			l.group.Go(func() { l.ask(t, a, good, bad, n%2 == 0) })
		}
	})
}

func (l *ownLoad) ask(t *testing.T, a *harness.Asker, good, bad []byte, isGood bool) {
	body := bad
	if isGood {
		body = good
	}
	strict := l.strict.Load()
	r, err := a.Ask(context.WithoutCancel(t.Context()), body)
	l.reviews.Add(1)
	switch {
	case err != nil:
		t.Errorf("a review was not answered: %v", err)
	case isGood && !r.Allowed:
		t.Errorf("what is present was refused: %s", r.Result.Message)
	case !isGood && !r.Allowed:
		l.refused.Add(1)
	case !isGood:
		l.admitted.Add(1)
		if strict {
			t.Error("what is missing was let in though the token is good")
		}
	}
}

// The signing keys are changed without an overlap. The webhook's own token is dead
// until the file is renewed.
func TestTheWebhookOutlivesItsOwnToken(t *testing.T) {
	o := newOwnToken(t)
	o.policies(t)
	harness.WaitUntil(t, func() error {
		_, err := o.client.CoreV1().ConfigMaps(home).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "there"}, Data: map[string][]byte{"k": []byte("x")}}
	if _, err := o.client.CoreV1().Secrets(home).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s := o.launch(t)
	s.WaitReady(t)
	a, load := s.Asker(t), &ownLoad{}
	loading, stop := context.WithCancel(t.Context())
	defer stop()
	load.run(loading, t, a)
	harness.WaitUntil(t, func() error {
		if load.refused.Load() < 10 {
			return errors.New("nothing is refused before the rotation")
		}
		return nil
	})

	private, public, _ := o.newRSA(t, "new")
	if err := o.plane.UseSigningKey(private, public); err != nil {
		t.Fatal(err)
	}
	rotated := time.Now()
	rejected(t, s)
	late := o.launch(t)
	rejected(t, late)
	unready(t, late)
	if left := deadFor - time.Since(rotated); left > 0 {
		time.Sleep(left) // the kubelet needs its time
	}
	if load.admitted.Load() == 0 {
		t.Error("what can't be read was never unknown: the token was not dead")
	}

	o.renew(t)
	renewed := time.Now()
	harness.WaitUntil(t, func() error {
		if code, body := late.Get(late.Health, "/readyz"); code != http.StatusOK {
			return errors.New(body)
		}
		return nil
	})
	if took := time.Since(renewed); took > 2*time.Second {
		t.Errorf("the replica that started meanwhile was ready after %s", took)
	}
	time.Sleep(time.Second - min(time.Second, time.Since(renewed)))
	load.strict.Store(true)
	before := load.refused.Load()
	harness.WaitUntil(t, func() error {
		if load.refused.Load() < before+100 {
			return errors.New("few reviews")
		}
		return nil
	})
	stop()
	load.group.Wait()
	for _, replica := range []*harness.Server{s, late} {
		accepted(t, replica)
	}
	t.Logf("%d reviews; of what is missing %d refused, %d let in", load.reviews.Load(), load.refused.Load(), load.admitted.Load())
}

// rejected wants metric, log and readyz to say that the token is not accepted.
func rejected(t *testing.T, s *harness.Server) {
	t.Helper()
	s.WaitLog(t, "does not accept Tokenward's own token")
	if v := s.Metric(t, "tokenward_own_token_rejected"); v != 1 {
		t.Errorf("tokenward_own_token_rejected is %v", v)
	}
	if _, body := s.Get(s.Health, "/readyz?verbose"); !strings.Contains(body, "[-]own-token") || !strings.Contains(body, "rollout restart") {
		t.Errorf("/readyz?verbose: %s", body)
	}
	if code, _ := s.Get(s.Health, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
}

// unready wants a replica that started with a dead token to say why it is not ready.
func unready(t *testing.T, s *harness.Server) {
	t.Helper()
	code, body := s.Get(s.Health, "/readyz")
	if code != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d", code)
	}
	harness.MustContain(t, body, "the index of the cluster is not complete yet", "own token")
}

// accepted wants all to be over, without a restart, and few lines in the log.
func accepted(t *testing.T, s *harness.Server) {
	t.Helper()
	select {
	case err := <-s.Exited:
		t.Errorf("a replica ended: %v", err)
	default:
	}
	if v := s.Metric(t, "tokenward_own_token_rejected"); v != 0 {
		t.Errorf("tokenward_own_token_rejected is %v", v)
	}
	if _, body := s.Get(s.Health, "/readyz?verbose"); !strings.Contains(body, "[+]own-token ok") {
		t.Errorf("/readyz?verbose: %s", body)
	}
	log := s.Log.String()
	if n := strings.Count(log, "does not accept Tokenward's own token"); n != 1 {
		t.Errorf("the log says %d times that the token is not accepted", n)
	}
	harness.MustContain(t, log, "accepts Tokenward's own token again")
	if strings.Contains(log, "service-account-issuer-discovery") {
		t.Error("the log advises a grant")
	}
	failures := []string{}
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"level":"error"`) {
			failures = append(failures, line)
		}
	}
	if len(failures) >= 10 {
		t.Errorf("%d error lines:\n%s", len(failures), fmt.Sprint(failures))
	}
}
