package servingcert

import (
	"context"
	"crypto/tls"
	"sync/atomic"
	"time"
)

const (
	// DefaultLifetime is that of a serving certificate.
	DefaultLifetime = 90 * 24 * time.Hour
	// caLifetime is that of an authority in memory.
	caLifetime = 10 * 365 * 24 * time.Hour
	// renewCheck is how often the age of the certificate is looked at.
	renewCheck = time.Hour
)

// SelfSigned is a certificate authority in memory and a serving certificate
// from it, which it renews.
type SelfSigned struct {
	hosts []string
	ca    authority
	cert  atomic.Pointer[tls.Certificate]
}

// NewSelfSigned makes a CA and a certificate for the given DNS names and IP
// addresses, valid from now.
func NewSelfSigned(hosts []string, now time.Time) (*SelfSigned, error) {
	ca, err := newAuthority(now, caLifetime)
	if err != nil {
		return nil, err
	}
	s := &SelfSigned{hosts: hosts, ca: ca}
	return s, s.issue(now)
}

// CA returns the certificate of the authority in PEM, as it goes into caBundle.
func (s *SelfSigned) CA() []byte { return certificatePEM(s.ca.cert.Raw) }

// GetCertificate is for tls.Config.
func (s *SelfSigned) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.cert.Load(), nil
}

// Start renews the certificate until the context ends.
func (s *SelfSigned) Start(ctx context.Context) error {
	tick := time.NewTicker(renewCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if now.Before(renewal(s.cert.Load().Leaf, DefaultLifetime)) {
				continue
			}
			if err := s.issue(now); err != nil {
				return err
			}
		}
	}
}

func (s *SelfSigned) issue(now time.Time) error {
	cert, err := s.ca.issue(s.hosts, now, DefaultLifetime)
	if err != nil {
		return err
	}
	s.cert.Store(cert)
	return nil
}
