package tokens

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// balancer sends connections to several addresses in turn.
type balancer struct {
	listener net.Listener
	targets  atomic.Pointer[[]string]
}

func newBalancer(t *testing.T, targets ...string) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: l}
	b.targets.Store(&targets)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for n := 0; ; n++ {
			in, err := l.Accept()
			if err != nil {
				return
			}
			all := *b.targets.Load()
			go b.pipe(in, all[n%len(all)])
		}
	}()
	return b
}

func (b *balancer) pipe(in net.Conn, target string) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(out, in); _ = out.(*net.TCPConn).CloseWrite() })
	both.Go(func() { _, _ = io.Copy(in, out); _ = in.(*net.TCPConn).CloseWrite() })
	both.Wait()
}

// kubeconfigAt is the webhook's kubeconfig for another address and CA.
func (f *field) kubeconfigAt(t *testing.T, address string, ca []byte) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(f.installed.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range config.Clusters {
		*c = clientcmdapi.Cluster{Server: "https://" + address, CertificateAuthorityData: ca}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// While one of two API servers still has the old keys no token that either
// takes is denied.
func TestNoGoodTokenIsDeniedDuringARollOut(t *testing.T) {
	f := newField(t)
	f.tokenSecret(t, "old-key", "robot")
	private, public, key := f.newRSA(t, "new")
	second, err := f.plane.StartAnother(f.plane.Config, map[string][]string{
		"service-account-signing-key-file": {private}, "service-account-key-file": {public},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Stop)
	first := f.address()
	b := newBalancer(t, first)
	s := f.webhook(t, f.kubeconfigAt(t, b.listener.Addr().String(), f.plane.Config.CAData), "--signing-key-refresh=1s", "--signing-key-settle=4s")
	a := s.Asker(t)
	robot, err := f.client.CoreV1().ServiceAccounts(home).Get(t.Context(), "robot", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text := harness.Mint(t, jose.RS256, key, kidOf(t, key.Public()), map[string]any{
		"iss": harness.Issuer, "aud": []string{harness.Issuer}, "sub": "system:serviceaccount:default:robot", "exp": time.Now().Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": home, "serviceaccount": map[string]any{"name": "robot", "uid": string(robot.UID)}},
	})
	if !f.accepts(t, "https://"+second.Address, text) || f.accepts(t, f.plane.Config.Host, text) {
		t.Fatal("the two API servers do not differ")
	}
	f.keep(t, "new-key", text)
	// Not denied for as long as it is a roll-out; unknown is no denial.
	b.targets.Store(&[]string{first, second.Address})
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for _, secret := range []string{"old-key", "new-key"} {
			if v := askVerdict(t, a, secret); v == "invalid" {
				t.Fatalf("%s is denied during the roll-out", secret)
			}
		}
	}
	if v := askVerdict(t, a, "new-key"); v != "valid" {
		t.Errorf("a token of the new key is %s", v)
	}
	// The roll-out is over.
	b.targets.Store(&[]string{second.Address})
	harness.WaitUntil(t, func() error {
		if v := askVerdict(t, a, "old-key"); v != "invalid" {
			return errors.New("the old key is still taken: " + v)
		}
		return nil
	})
	if v := askVerdict(t, a, "new-key"); v != "valid" {
		t.Errorf("after the roll-out a token of the new key is %s", v)
	}
}
