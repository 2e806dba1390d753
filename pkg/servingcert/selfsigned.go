// Package servingcert provides the certificate that the webhook serves with.
// It imports nothing of ours.
package servingcert

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync/atomic"
	"time"
)

const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	certLifetime = 90 * 24 * time.Hour
	// renewCheck is how often the age of the certificate is looked at; it is
	// renewed after two thirds of its life.
	renewCheck = time.Hour
	// backdate allows for clocks that are behind.
	backdate = time.Hour
)

// SelfSigned is a certificate authority in memory and a serving certificate
// from it, which it renews.
type SelfSigned struct {
	hosts []string
	ca    *x509.Certificate
	key   *ecdsa.PrivateKey
	cert  atomic.Pointer[tls.Certificate]
}

// NewSelfSigned makes a CA and a certificate for the given DNS names and IP
// addresses, valid from now. Keys are ECDSA P-256: handshakes are cheap.
func NewSelfSigned(hosts []string, now time.Time) (*SelfSigned, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "tokenward-ca"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	s := &SelfSigned{hosts: hosts, ca: ca, key: key}
	return s, s.issue(now)
}

// CA returns the certificate of the authority in PEM, as it goes into caBundle.
func (s *SelfSigned) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.Raw})
}

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
			if now.Before(s.cert.Load().Leaf.NotAfter.Add(-certLifetime / 3)) {
				continue
			}
			if err := s.issue(now); err != nil {
				return err
			}
		}
	}
}

func (s *SelfSigned) issue(now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("serving certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "tokenward"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(certLifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range s.hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.ca, &key.PublicKey, s.key)
	if err != nil {
		return fmt.Errorf("serving certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("serving certificate: %w", err)
	}
	s.cert.Store(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf})
	return nil
}

func serial() *big.Int {
	// rand.Int can't fail: crypto/rand.Reader never returns an error.
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	return n
}
