package listing

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/token"
)

// Trust is what the API server accepts, and what it shows of itself.
type Trust struct {
	Keys *token.KeySet
	// Chains are the certificates that it presented, each leaf first.
	Chains [][]*x509.Certificate
	// Now is the time of the judgement.
	Now time.Time

	mu     sync.Mutex
	judged map[[sha256.Size]byte]facts.State // by the hash of a ca.crt: most are the same
}

// current returns whether a ca.crt verifies what the API server presents.
func (t *Trust) current(ca []byte) facts.State {
	if len(t.Chains) == 0 {
		return facts.Unknown
	}
	sum := sha256.Sum256(ca)
	t.mu.Lock()
	defer t.mu.Unlock()
	if state, ok := t.judged[sum]; ok {
		return state
	}
	state := facts.Absent
	if bundle, err := token.ParseCertificates(ca); err == nil {
		for _, chain := range t.Chains {
			if token.Trusts(bundle, chain, t.Now) {
				state = facts.Present
			}
		}
	}
	if t.judged == nil {
		t.judged = map[[sha256.Size]byte]facts.State{}
	}
	t.judged[sum] = state
	return state
}

func (t *Trust) reduce(s *corev1.Secret) *facts.Secret { return facts.ReadSecret(s, t.Keys, t.current) }

// trustReads is how often the keys are read, each time over a new connection:
// behind a load balancer another API server may answer, and while keys are
// rolled out it accepts others. Only where all agree is a key that none of them
// shows gone.
const trustReads = 3

// ReadTrust reads what the API server of config accepts, besides keys and
// issuers that are given. It never fails for want of keys: without them tokens
// are unknown, and the error says why.
func ReadTrust(ctx context.Context, config *rest.Config, given token.KeySetOptions, now time.Time) (*Trust, error) {
	options := given
	options.Keys, options.Issuers = slices.Clone(given.Keys), slices.Clone(given.Issuers)
	options.Settled = true
	t := &Trust{Now: now}
	var first []token.Key
	var lastErr error
	for i := range trustReads {
		keys, issuer, chain, err := readKeys(ctx, config)
		if chain != nil {
			t.Chains = append(t.Chains, chain)
		}
		if err != nil {
			lastErr = err
			break
		}
		if i == 0 {
			first = keys
		} else if !slices.EqualFunc(first, keys, func(a, b token.Key) bool { return a.ID == b.ID }) {
			options.Settled = false
		}
		options.Keys = append(options.Keys, keys...)
		if issuer != "" && !slices.Contains(options.Issuers, issuer) {
			options.Issuers = append(options.Issuers, issuer)
		}
	}
	if lastErr != nil && len(given.Keys) == 0 {
		options.Unavailable = true
	} else {
		lastErr = nil
	}
	t.Keys = token.NewKeySet(options)
	return t, lastErr
}

// readKeys reads keys and issuer over a connection of its own.
func readKeys(ctx context.Context, config *rest.Config) (keys []token.Key, issuer string, chain []*x509.Certificate, err error) {
	config = rest.CopyConfig(config)
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	config.Dial = dialer.DialContext // a transport that nobody shares
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(r)
			if err == nil && response.TLS != nil {
				chain = response.TLS.PeerCertificates
			}
			return response, err
		})
	})
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, "", nil, err
	}
	rest := client.Discovery().RESTClient()
	raw, err := rest.Get().AbsPath("/.well-known/openid-configuration").DoRaw(ctx)
	if err != nil {
		return nil, "", chain, fmt.Errorf("issuer discovery: %w", refused(err))
	}
	var discovery struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(raw, &discovery); err != nil {
		return nil, "", chain, fmt.Errorf("issuer discovery: %w", err)
	}
	if raw, err = rest.Get().AbsPath("/openid/v1/jwks").SetHeader("Connection", "close").DoRaw(ctx); err != nil {
		return nil, "", chain, fmt.Errorf("signing keys: %w", refused(err))
	}
	if keys, err = token.ParseKeys(raw); err == nil && len(keys) == 0 {
		err = errors.New("there are none")
	}
	if err != nil {
		return nil, "", chain, fmt.Errorf("signing keys: %w", err)
	}
	return keys, discovery.Issuer, chain, nil
}

// refused says what right is missing: the API server's own word on a path that is
// no resource is "unknown".
func refused(err error) error {
	if apierrors.IsForbidden(err) {
		return errors.New("it is forbidden: bind the ClusterRole system:service-account-issuer-discovery, or give the keys with --service-account-key-file")
	}
	return err
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
