package servingcert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	admissionregistration "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
	core "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// authorityLives is how many lives of a serving certificate an authority has.
const authorityLives = 4

// SharedOptions say what to serve as, and where it is kept.
type SharedOptions struct {
	// Namespace and Secret name the Secret that the replicas share. It is filled in
	// and never made: the right to create one can't be limited by name.
	Namespace, Secret string
	// Configuration names the webhook configurations, of both kinds, whose
	// caBundle is kept right. One that does not exist is waited for.
	Configuration string
	// Hosts are the DNS names and IP addresses that the certificate is for.
	Hosts []string
	// Lifetime of a serving certificate; DefaultLifetime if it is zero. An
	// authority lives four times as long.
	Lifetime time.Duration
	// Now is the clock; time.Now if it is nil.
	Now func() time.Time
	// Mended is called whenever caBundle was not what it must be, and has been
	// set; may be nil.
	Mended func()
}

// Shared is a serving certificate, and the authority that issued it, in a Secret
// that all replicas share. Each replica renews the Secret and corrects the webhook
// configurations. There is no leader: the first replica to write wins, and the
// others use what it wrote.
type Shared struct {
	options SharedOptions
	rules   rules
	// settle is how long an authority must have been in the webhook
	// configurations before it signs. By then all API servers know it.
	settle        time.Duration
	secrets       secretClient
	log           logr.Logger
	registrations []*registration
	wake          chan struct{} // holds one: something has changed

	mu     sync.Mutex
	known  bool               // the Secret has been read
	secret *corev1.Secret     // as it was read last; nil if it does not exist
	doubt  bool               // an older state was seen after that; maybe etcd was restored
	logged map[string]failure // by what fails

	// What follows belongs to step.
	memory  state                // what was last known to be in the Secret
	trusted map[string]time.Time // authorities, since when the configurations have them

	served atomic.Pointer[servedCertificate]
	ready  atomic.Bool // the API server has been seen to trust what is served
}

// servedCertificate is the certificate that is served, and its authority.
type servedCertificate struct {
	cert *tls.Certificate
	ca   *x509.Certificate
}

// secretClient reads and writes the Secret.
type secretClient interface {
	lister[*corev1.SecretList]
	Get(ctx context.Context, name string, options metav1.GetOptions) (*corev1.Secret, error)
	Update(ctx context.Context, secret *corev1.Secret, options metav1.UpdateOptions) (*corev1.Secret, error)
}

// NewShared returns a source of certificates that talks to the API server of
// config. It has none before Start runs.
func NewShared(config *rest.Config, options SharedOptions, log logr.Logger) (*Shared, error) {
	secrets, err := core.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	configurations, err := admissionregistration.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	return newShared(secrets.Secrets(options.Namespace), []*registration{
		validating(configurations.ValidatingWebhookConfigurations(), options.Configuration),
		mutating(configurations.MutatingWebhookConfigurations(), options.Configuration),
	}, options, log), nil
}

func newShared(secrets secretClient, registrations []*registration, options SharedOptions, log logr.Logger) *Shared {
	if options.Lifetime == 0 {
		options.Lifetime = DefaultLifetime
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Shared{
		options: options, secrets: secrets, registrations: registrations, log: log,
		rules:  rules{hosts: options.Hosts, lifetime: options.Lifetime, authorityFor: authorityLives * options.Lifetime},
		settle: min(options.Lifetime/20, time.Minute),
		wake:   make(chan struct{}, 1), logged: map[string]failure{}, trusted: map[string]time.Time{},
	}
}

// GetCertificate is for tls.Config.
func (s *Shared) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	u := s.served.Load()
	if u == nil {
		return nil, errors.New("there is no serving certificate yet")
	}
	return u.cert, nil
}

// CA returns the authority that issued what is served, or nil.
func (s *Shared) CA() *x509.Certificate {
	if u := s.served.Load(); u != nil {
		return u.ca
	}
	return nil
}

// Ready returns why the API server can't trust this replica, or nil. A replica
// that was ready stays ready. If somebody empties caBundle, it is set again at
// once, and a replica that became unready would only make the outage longer.
func (s *Shared) Ready() error {
	switch {
	case s.served.Load() == nil:
		return errors.New("no serving certificate")
	case !s.ready.Load():
		return errors.New("the caBundle of the webhook configurations does not have our CA yet")
	}
	return nil
}

// Start looks after the certificate until the context ends.
func (s *Shared) Start(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() {
		follow[*corev1.Secret](ctx, s.secrets, s.options.Secret, func(o *corev1.Secret, exists bool) {
			if !exists {
				o = nil
			}
			s.observe(o)
			s.signal()
		}, s.failureLogger("secret", "The Secret with the serving certificate can't be read"))
	})
	for _, r := range s.registrations {
		group.Go(func() {
			r.follow(ctx, s.signal, s.failureLogger(r.kind, "A webhook configuration can't be read"))
		})
	}
	s.run(ctx)
	group.Wait()
	return nil
}

// run takes a step whenever something has changed, and from time to time.
func (s *Shared) run(ctx context.Context) {
	interval := min(max(s.options.Lifetime/100, 20*time.Millisecond), 10*time.Second)
	for {
		wait := interval
		if err := s.step(ctx); ctx.Err() == nil {
			s.failureLogger("step", "The serving certificate can't be looked after")(err)
			if err != nil {
				wait = min(interval, retryAfter)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-s.wake:
		}
	}
}

func (s *Shared) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// failure is an error as it was logged last.
type failure struct {
	text string // empty once it is over
	at   time.Time
}

// logInterval is how often each kind of failure is logged at most.
const logInterval = time.Minute

// failureLogger returns a function that logs an error when it is another than before, once a minute at most:
// the texts of some have a port or a version in them that changes every time.
func (s *Shared) failureLogger(what, message string) func(error) {
	return func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		last := s.logged[what]
		if err == nil {
			s.logged[what] = failure{at: last.at}
			return
		}
		now := s.options.Now()
		if last.text == err.Error() || now.Sub(last.at) < logInterval {
			return
		}
		s.logged[what] = failure{text: err.Error(), at: now}
		s.log.Error(err, message, "secret", s.options.Namespace+"/"+s.options.Secret, "webhookConfiguration", s.options.Configuration)
	}
}
