// Package servingcert provides the certificate that the webhook serves with,
// from a certificate authority of its own: in memory for one process
// (SelfSigned), or in a Secret that the replicas in a cluster share (Shared),
// where it also keeps caBundle in the webhook configurations right.
//
// Pure functions of the Secret's data and the time decide when authorities and
// certificates are renewed (state.go). Shared carries that out.
//
// It imports nothing of ours.
package servingcert

import (
	"crypto"
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
	"time"
)

const (
	// backdate allows for clocks that are behind.
	backdate = time.Hour
	// authorityName is the common name of authorities.
	authorityName = "tokenward-ca"
)

// authority is a certificate authority.
type authority struct {
	cert *x509.Certificate
	// key is nil where the authority is still trusted, but signs no more.
	key crypto.Signer
}

// newAuthority makes an authority that is valid from now. Keys are ECDSA P-256:
// handshakes are cheap.
func newAuthority(now time.Time, lifetime time.Duration) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("certificate authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: authorityName},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return authority{}, fmt.Errorf("certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, fmt.Errorf("certificate authority: %w", err)
	}
	return authority{cert: cert, key: key}, nil
}

// issue makes a serving certificate for DNS names and IP addresses. It ends with
// its authority at the latest.
func (a authority) issue(hosts []string, now time.Time, lifetime time.Duration) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	end := now.Add(lifetime)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "tokenward"},
		NotBefore: now.Add(-backdate), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// renewal returns when a certificate is to be renewed: after two thirds of its
// life, or of the life that it would get now, if that is shorter.
func renewal(cert *x509.Certificate, lifetime time.Duration) time.Time {
	issued := cert.NotBefore.Add(backdate)
	return issued.Add(min(cert.NotAfter.Sub(issued), lifetime) * 2 / 3)
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func serial() *big.Int {
	// rand.Int can't fail: crypto/rand.Reader never returns an error.
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	return n
}
