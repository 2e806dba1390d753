package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// authority is a certificate that can sign others.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) authority {
	return authority{}.issue(t, name, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign })
}

// issue makes a serving certificate of the authority, or one that signs itself.
func (a authority) issue(t testing.TB, name string, change func(*x509.Certificate)) authority {
	t.Helper()
	key := newECKey(elliptic.P256())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	change(template)
	if a.key == nil {
		a = authority{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate, key}
}

func (a authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

func TestTrusts(t *testing.T) {
	serving := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	ca, other := newAuthority(t, "ca"), newAuthority(t, "ca")
	leaf := ca.issue(t, "kube-apiserver", serving)
	between := ca.issue(t, "between", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign })
	deep := between.issue(t, "kube-apiserver", serving)
	client := ca.issue(t, "kubelet", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	alone := authority{}.issue(t, "kube-apiserver", serving)
	list := func(as ...authority) []*x509.Certificate {
		var all []*x509.Certificate
		for _, a := range as {
			all = append(all, a.certificate)
		}
		return all
	}
	for _, c := range []struct {
		name          string
		bundle, chain []*x509.Certificate
		at            time.Time
		want          bool
	}{
		{"the authority is in the bundle", list(ca), list(leaf), now, true},
		{"the bundle has another one, too", list(other, ca), list(leaf), now, true},
		{"another authority of the same name", list(other), list(leaf), now, false},
		{"a chain with what is between", list(ca), list(deep, between), now, true},
		{"a chain without what is between", list(ca), list(deep), now, false},
		{"what is between is in the bundle", list(between), list(deep), now, true},
		{"the chain has its own authority", list(other), list(leaf, ca), now, false},
		{"a certificate that signed itself", list(alone), list(alone), now, true},
		{"a certificate for clients", list(ca), list(client), now, false},
		{"the certificate has expired", list(ca), list(leaf), now.Add(2 * time.Hour), false},
		{"the certificate is of the future", list(ca), list(leaf), now.Add(-2 * time.Hour), false},
		{"no time is given", list(ca), list(leaf), time.Time{}, false},
		{"an empty bundle", nil, list(leaf), now, false},
		{"an empty chain", list(ca), nil, now, false},
	} {
		if got := Trusts(c.bundle, c.chain, c.at); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestParseCertificates(t *testing.T) {
	a, b := newAuthority(t, "a"), newAuthority(t, "b")
	got, err := ParseCertificates([]byte("# a\n" + a.pem() + spki(ecKey().Public()) + b.pem()))
	if err != nil || !slices.EqualFunc(got, []*x509.Certificate{a.certificate, b.certificate}, (*x509.Certificate).Equal) {
		t.Errorf("got %d certificates, %v", len(got), err)
	}
	broken := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("hello")}))
	for _, c := range []struct{ name, data, want string }{
		{"nothing", "", "certificates: none"},
		{"no PEM", "hello", "certificates: none"},
		{"a key", spki(ecKey().Public()), "certificates: none"},
		{"a broken one", a.pem() + broken, "certificates: PEM block 2: not a certificate"},
		{"too many", strings.Repeat(a.pem(), maxCertificates+1), "certificates: more than 1000"},
		{"too much", strings.Repeat(" ", maxBundleSize+1), "certificates: longer than 1048576 bytes"},
	} {
		if got, err := ParseCertificates([]byte(c.data)); got != nil || err == nil || err.Error() != c.want {
			t.Errorf("%s: %d certificates, %v, want %s", c.name, len(got), err, c.want)
		}
	}
}
