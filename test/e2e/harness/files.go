package harness

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tokenward.dev/tokenward/pkg/servingcert"
)

// ServeTLS serves with a certificate for 127.0.0.1 until the test ends.
func ServeTLS(t *testing.T, handler http.Handler) (url string, ca []byte) {
	t.Helper()
	own, err := servingcert.NewSelfSigned([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := own.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	https := httptest.NewUnstartedServer(handler)
	https.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
	https.StartTLS()
	t.Cleanup(https.Close)
	return https.URL, own.CA()
}

// ForeignCA is a good CA that is not ours.
func ForeignCA(t *testing.T) []byte {
	t.Helper()
	other, err := servingcert.NewSelfSigned(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return other.CA()
}

// WriteCertificate puts a new CA's certificate for 127.0.0.1 into a directory.
func WriteCertificate(t *testing.T, dir string) (ca []byte) {
	t.Helper()
	authority, err := servingcert.NewSelfSigned([]string{"127.0.0.1", "localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	crt, key := PEMPair(t, cert)
	// The key first: the watcher keeps the old pair until the two fit.
	WriteFile(t, filepath.Join(dir, "tls.key"), key)
	WriteFile(t, filepath.Join(dir, "tls.crt"), crt)
	return authority.CA()
}

// PEMPair encodes a certificate and its key.
func PEMPair(t *testing.T, cert *tls.Certificate) (crt, key []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return PEMCertificate(cert.Certificate[0]), PEMKey(der)
}

// PEMKey encodes a private key.
func PEMKey(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// PEMCertificate encodes a certificate.
func PEMCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// WriteFile writes a file that only this user may read.
func WriteFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
