package servingcert

import (
	"crypto/x509"
	"testing"
	"time"
)

func TestTheCertificateVerifiesAgainstItsCA(t *testing.T) {
	now := time.Now()
	own, err := NewSelfSigned([]string{"127.0.0.1", "tokenward.tokenward-system.svc"}, now)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(own.CA()) {
		t.Fatal("the CA is not PEM")
	}
	for _, later := range []time.Duration{0, 2 * DefaultLifetime} {
		if err := own.issue(now.Add(later)); err != nil {
			t.Fatal(err)
		}
		cert, err := own.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"127.0.0.1", "tokenward.tokenward-system.svc"} {
			if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host, CurrentTime: now.Add(later)}); err != nil {
				t.Errorf("%s, %s later: %v", host, later, err)
			}
		}
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "other.test", CurrentTime: now.Add(later)}); err == nil {
			t.Error("the certificate is good for another host, too")
		}
	}
}
