package token

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

const (
	// maxBundleSize and maxCertificates bound a ca.crt. That of a cluster has
	// one certificate or, while it is being replaced, two.
	maxBundleSize   = 1 << 20
	maxCertificates = 1000
)

// ParseCertificates reads the certificates of a ca.crt, as client-go does: other
// PEM blocks are skipped. It fails on a certificate that cannot be read, and
// if there is none.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	if len(data) > maxBundleSize {
		return nil, fmt.Errorf("certificates: longer than %d bytes", maxBundleSize)
	}
	var bundle []*x509.Certificate
	for n := 1; ; n++ {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if data = rest; block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			continue
		}
		if len(bundle) == maxCertificates {
			return nil, fmt.Errorf("certificates: more than %d", maxCertificates)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil { // not wrapped: it may quote the certificate
			return nil, fmt.Errorf("certificates: PEM block %d: not a certificate", n)
		}
		bundle = append(bundle, certificate)
	}
	if len(bundle) == 0 {
		return nil, errors.New("certificates: none")
	}
	return bundle, nil
}

// Trusts reports whether a client that trusts the bundle accepts the chain that
// a server presents, leaf first, at that time. The server's name is not looked
// at: it depends on how the client calls the server.
func Trusts(bundle, chain []*x509.Certificate, now time.Time) bool {
	if len(chain) == 0 || now.IsZero() { // crypto/x509 would read the clock
		return false
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range bundle {
		roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err == nil
}
