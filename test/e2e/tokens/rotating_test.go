package tokens

import (
	"crypto/rsa"
	"encoding/base64"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// rotating is a control plane whose API servers, behind a balancer, are replaced by
// others that have other signing keys; and replicas of the webhook, behind another
// balancer, that know the API servers by the first one.
type rotating struct {
	*field
	random     *rand.Rand
	apiServers *balancer
	slots      []*slot
	current    *signer // of the token in the Secret "robot"
	robot      types.UID

	kubeconfig, certificates string // of the webhook
	ca                       []byte
	webhooks                 *balancer
	created, launched        int
	asked                    atomic.Int64
	deaths                   sync.WaitGroup

	mu       sync.Mutex
	replicas []*rotatingReplica
	died     []time.Duration // how long it took replicas to refuse what is dead
	gone     map[string]bool // the Secrets with these tokens
}

// slot is the place of an API server, whichever has it now.
type slot struct {
	server *cluster.Another
	client kubernetes.Interface
}

// signer is a signing key, and the files that it is in.
type signer struct {
	private, public string
	key             *rsa.PrivateKey
}

type rotatingReplica struct {
	server *harness.Server
	asker  *harness.Asker
	killed atomic.Bool
}

func newRotating(t *testing.T, servers int) *rotating {
	t.Helper()
	f := newField(t)
	r := &rotating{
		field: f, random: rand.New(rand.NewPCG(uint64(servers), 1)), certificates: t.TempDir(), slots: make([]*slot, servers), gone: map[string]bool{},
		apiServers: newBalancer(t, f.address()), webhooks: newBalancer(t),
	}
	robot, err := f.client.CoreV1().ServiceAccounts(home).Get(t.Context(), "robot", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.robot = robot.UID
	r.ca = harness.WriteCertificate(t, r.certificates)
	r.kubeconfig = f.kubeconfigAt(t, r.apiServers.listener.Addr().String(), f.plane.Config.CAData)
	r.current = r.newSigner(t, "first")
	for i := range r.slots {
		r.serve(t, i, r.current)
	}
	f.tokenSecret(t, "robot", "robot")
	r.hold(t, "robot", r.current)
	stranger := r.newSigner(t, "stranger")
	f.keep(t, "forged", r.sign(t, "forged", stranger, nil))
	f.keep(t, "foreign", r.sign(t, "foreign", stranger, map[string]any{"kubernetes.io/serviceaccount/service-account.uid": otherUID}))
	for range 2 {
		r.addReplica(t)
	}
	e := harness.Env{Plane: f.plane, Client: f.client, Standard: f.installed}
	e.RegisterAt(t, "https://"+r.webhooks.listener.Addr().String(), r.ca, metav1.LabelSelectorRequirement{
		Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{home},
	})
	r.mustAgree(t, harness.Patience)
	return r
}

func (r *rotating) newSigner(t *testing.T, name string) *signer {
	t.Helper()
	private, public, key := r.newRSA(t, name)
	return &signer{private, public, key}
}

// serve puts an API server into a slot that accepts these keys and signs by the
// first, and kills the one that was there.
func (r *rotating) serve(t *testing.T, at int, keys ...*signer) {
	t.Helper()
	flags := map[string][]string{"service-account-signing-key-file": {keys[0].private}}
	for _, k := range keys {
		flags["service-account-key-file"] = append(flags["service-account-key-file"], k.public)
	}
	server, err := r.plane.StartAnother(r.plane.Config, flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	config := rest.CopyConfig(r.plane.Config)
	config.Host = "https://" + server.Address
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	old := r.slots[at]
	r.slots[at] = &slot{server, client}
	var targets []string
	for _, s := range r.slots {
		if s != nil {
			targets = append(targets, s.server.Address)
		}
	}
	r.apiServers.targets.Store(&targets)
	if old != nil {
		old.server.Stop()
	}
}

// sign makes a legacy token, as the token controller does.
func (r *rotating) sign(t *testing.T, secret string, by *signer, other map[string]any) string {
	t.Helper()
	claims := (&mint{field: r.field, robot: r.robot}).legacyClaims(secret, nil)
	maps.Copy(claims, other)
	return harness.Mint(t, jose.RS256, by.key, kidOf(t, by.key.Public()), claims)
}

// hold puts a token into a token Secret, as the token controller does.
func (r *rotating) hold(t *testing.T, secret string, by *signer) {
	t.Helper()
	if !strings.HasPrefix(secret, "robot") {
		r.tokenSecret(t, secret, "robot")
	}
	text := base64.StdEncoding.EncodeToString([]byte(r.sign(t, secret, by, nil)))
	if _, err := r.slots[0].client.CoreV1().Secrets(home).Patch(t.Context(), secret, types.MergePatchType, []byte(`{"data":{"token":"`+text+`"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (r *rotating) addReplica(t *testing.T) {
	t.Helper()
	s := r.webhook(t, r.kubeconfig, "--signing-key-refresh="+keyRefresh.String(), "--signing-key-settle="+keySettle.String(),
		"--pod-namespace="+r.installed.Release.Namespace, "--signing-keys-configmap=tokenward-signing-keys", "--cert-dir="+r.certificates)
	s.CA = r.ca
	r.mu.Lock()
	r.replicas = append(r.replicas, &rotatingReplica{server: s, asker: s.Asker(t)})
	r.mu.Unlock()
	r.launched++
	r.balance()
}

// balance sends the reviews of API servers to the replicas that run.
func (r *rotating) balance() {
	var ports []string
	for _, replica := range r.running() {
		ports = append(ports, "127.0.0.1:"+strconv.Itoa(replica.server.Port))
	}
	r.webhooks.targets.Store(&ports)
}

func (r *rotating) running() []*rotatingReplica {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*rotatingReplica
	for _, replica := range r.replicas {
		if !replica.killed.Load() {
			out = append(out, replica)
		}
	}
	return out
}

// replaceReplica kills the replica that has run for longest, and adds one, which
// must soon answer as the others do.
func (r *rotating) replaceReplica(t *testing.T) {
	t.Helper()
	oldest := r.running()[0]
	oldest.killed.Store(true)
	r.balance()
	_ = oldest.server.Command.Process.Kill()
	r.addReplica(t)
	r.mustHold(t, "robot")
	r.mustAgree(t, 2*keyRefresh+slowMachine)
}

func (r *rotating) noteDeath(secret string, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.died, r.gone[secret] = append(r.died, took), true
}

// dead returns the Secrets whose tokens some replica has refused.
func (r *rotating) dead() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for name := range r.gone {
		out = append(out, name)
	}
	return out
}
