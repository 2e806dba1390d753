package inventory

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/token"
)

// SigningOptions say by which keys tokens are verified.
type SigningOptions struct {
	// Keys and Issuers beside those that the API server publishes.
	Keys    []token.Key
	Issuers []string
	// Partial is set where the API server keeps keys out of what it publishes.
	Partial bool
	// Refresh is how often the keys are read; DefaultRefresh if zero.
	Refresh time.Duration
	// Settle is for how long refreshes must agree that a key is gone; DefaultSettle
	// if zero.
	Settle time.Duration
}

// What SigningOptions are where they are zero.
const (
	DefaultRefresh = time.Minute
	DefaultSettle  = 10 * time.Minute
)

const (
	// minRefresh keeps tokens with unknown key ids from making us a nuisance.
	minRefresh = time.Second
	// refreshTimeout bounds one refresh.
	refreshTimeout = 5 * time.Second
)

// trust is what the API server accepts, and what it shows of itself, as far as
// is known. It is immutable, but for what it remembers of its own judgement.
type trust struct {
	keys *token.KeySet
	// chains are the certificates that API servers presented, each leaf first;
	// chainsSettled is set once these have been all for some time.
	chains        [][]*x509.Certificate
	chainsSettled bool
	// generation grows with every change.
	generation uint64
	// fingerprint tells trusts apart.
	fingerprint string
	// judged has what was found of each ca.crt, by its SHA-256: most are the same.
	judged sync.Map
}

// current tells whether a ca.crt verifies what API servers present: one of them
// is enough, while certificates are being replaced.
func (t *trust) current(ca []byte, now time.Time) facts.State {
	sum := sha256.Sum256(ca)
	if state, ok := t.judged.Load(sum); ok {
		return state.(facts.State)
	}
	state := t.judge(ca, now)
	t.judged.Store(sum, state)
	return state
}

func (t *trust) judge(ca []byte, now time.Time) facts.State {
	if len(t.chains) == 0 {
		return facts.Unknown
	}
	if bundle, err := token.ParseCertificates(ca); err == nil {
		for _, chain := range t.chains {
			if token.Trusts(bundle, chain, now) {
				return facts.Present
			}
		}
	}
	if !t.chainsSettled {
		return facts.Unknown // another API server may present another one
	}
	return facts.Absent
}

// signing follows the keys that the API server publishes.
type signing struct {
	options SigningOptions
	client  rest.Interface
	metrics *metrics.Metrics
	log     logr.Logger
	now     func() time.Time
	kick    chan struct{} // holds one: a token shows a key that is not known
	trust   atomic.Pointer[trust]
	// onChange is called after the trust changed.
	onChange func()

	presented atomic.Pointer[[]*x509.Certificate] // by the last answer
	history   history
	tried     atomic.Bool
	first     chan struct{} // closed once it has been tried
	told      string
}

// history is what refreshes brought so far.
type history struct {
	keys    map[string]seenKey
	issuers map[string]time.Time // when each was last seen
	chains  map[string]seenChain // by who issued them
	raw     string               // the keys and the issuer that the last refresh brought
	changed time.Time            // when raw was first seen so
	last    time.Time            // when a refresh last succeeded; zero: never
	// unserved is since when the API server says that it publishes no keys at all.
	unserved time.Time
	// presented is when chains last changed.
	presented time.Time
}

func newHistory() history {
	return history{keys: map[string]seenKey{}, issuers: map[string]time.Time{}, chains: map[string]seenChain{}}
}

type seenKey struct {
	key  token.Key
	last time.Time
}

type seenChain struct {
	chain []*x509.Certificate
	last  time.Time
}

func newSigning(config *rest.Config, o SigningOptions, m *metrics.Metrics, log logr.Logger) (*signing, error) {
	if o.Refresh == 0 {
		o.Refresh = DefaultRefresh
	}
	if o.Settle == 0 {
		o.Settle = DefaultSettle
	}
	s := &signing{
		options: o, metrics: m, log: log, now: time.Now, kick: make(chan struct{}, 1), first: make(chan struct{}), onChange: func() {},
		history: newHistory(),
	}
	// A connection of its own each time: behind a load balancer one that is kept
	// would show the keys of one API server only.
	config = rest.CopyConfig(config)
	config.Dial = (&net.Dialer{Timeout: refreshTimeout}).DialContext
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return roundTripper{next, &s.presented} })
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	s.client = client.Discovery().RESTClient()
	s.put(s.history.trust(&o, s.now()))
	return s, nil
}

// keysPath is read last in a refresh.
const keysPath = "/openid/v1/jwks"

// roundTripper uses a connection for one refresh, and notes whose certificate it
// shows. Two connections would show one API server's keys and another's issuer,
// and, where a load balancer takes turns, always the same one's keys.
type roundTripper struct {
	next      http.RoundTripper
	presented *atomic.Pointer[[]*x509.Certificate]
}

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Close = request.URL.Path == keysPath
	response, err := r.next.RoundTrip(request)
	if err == nil && response.TLS != nil {
		chain := response.TLS.PeerCertificates
		r.presented.Store(&chain)
	}
	return response, err
}

// Trust returns what is accepted now.
func (s *signing) Trust() *trust { return s.trust.Load() }

// run refreshes until the context ends.
func (s *signing) run(ctx context.Context) {
	wait := time.Duration(0)
	backoff := minRefresh
	for {
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		case <-s.kick:
			pause.Stop()
			select { // many tokens may show unknown keys
			case <-ctx.Done():
				return
			case <-time.After(minRefresh):
			}
		}
		if err := s.refresh(ctx); err != nil && ctx.Err() == nil {
			wait = min(backoff, s.options.Refresh)
			backoff = min(2*backoff, s.options.Refresh)
			continue
		}
		wait, backoff = s.options.Refresh, minRefresh
	}
}

// refresh reads the keys once and takes over what they mean.
func (s *signing) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	keys, issuer, err := s.fetch(ctx)
	now := s.now()
	if err == nil {
		s.history.add(keys, issuer, now)
	} else {
		s.history.fail(apierrors.IsNotFound(err), now)
	}
	if chain := s.presented.Load(); chain != nil {
		s.history.addChain(*chain, now)
	}
	s.history.age(s.options.Settle, now)
	s.put(s.history.trust(&s.options, now))
	s.tell(err)
	if !s.tried.Swap(true) {
		close(s.first)
	}
	return err
}

func (s *signing) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != s.told && err != nil {
		s.log.Error(err, "The API server's signing keys can't be read; grant system:service-account-issuer-discovery, or give --service-account-key-file")
	}
	s.told = text
}

func (s *signing) put(next *trust) {
	old := s.trust.Load()
	if old != nil && old.fingerprint == next.fingerprint {
		return
	}
	if old != nil {
		next.generation = old.generation + 1
	}
	s.trust.Store(next)
	s.metrics.SigningKeys.Set(float64(len(next.keys.Keys())))
	s.onChange()
}

// fetch reads the keys and the issuer. An API server whose issuer is not https
// publishes neither.
func (s *signing) fetch(ctx context.Context) ([]token.Key, string, error) {
	const discoveryPath = "/.well-known/openid-configuration"
	raw, err := s.client.Get().AbsPath(discoveryPath).DoRaw(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", discoveryPath, err)
	}
	var discovery struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(raw, &discovery); err != nil {
		return nil, "", fmt.Errorf("%s: %w", discoveryPath, err)
	}
	raw, err = s.client.Get().AbsPath(keysPath).DoRaw(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", keysPath, err)
	}
	keys, err := token.ParseKeys(raw)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", keysPath, err)
	}
	if len(keys) == 0 {
		return nil, "", errors.New(keysPath + ": no keys")
	}
	return keys, discovery.Issuer, nil
}
