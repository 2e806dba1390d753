package app

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	stdlog "log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tokenward.dev/tokenward/pkg/metrics"
)

// authority signs client certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, parent *authority) *authority {
	t.Helper()
	return issue(t, parent, &x509.Certificate{
		Subject: pkix.Name{CommonName: "clients"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
}

// issue signs a certificate that is good now, by itself if there is no parent.
func issue(t *testing.T, parent *authority, template *x509.Certificate) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	template.NotBefore = template.NotAfter.Add(-2 * time.Hour)
	signer := parent
	if signer == nil {
		signer = &authority{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, &key.PublicKey, signer.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// client makes a certificate as a client presents it, with the chain given.
func (a *authority) client(t *testing.T, change func(*x509.Certificate), chain ...*authority) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "apiserver"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(template)
	}
	leaf := issue(t, a, template)
	cert := &tls.Certificate{Certificate: [][]byte{leaf.cert.Raw}, PrivateKey: leaf.key}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.cert.Raw)
	}
	return cert
}

// guarded is a TLS server behind a clientAuth, and what it logs.
type guarded struct {
	*httptest.Server
	auth    *clientAuth
	refused *prometheus.CounterVec
}

func newGuarded(t *testing.T, ca []byte, name string) *guarded {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	g := &guarded{refused: metrics.New().ClientsRefused}
	var err error
	if g.auth, err = newClientAuth(file, name, g.refused, logr.Discard()); err != nil {
		t.Fatal(err)
	}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	g.TLS = &tls.Config{}
	g.auth.configure(g.TLS)
	g.Config.ErrorLog = stdlog.New(&httpLog{log: logr.Discard()}, "", 0)
	g.StartTLS()
	t.Cleanup(g.Close)
	return g
}

// call makes one request over a connection of its own.
func (g *guarded) call(version uint16, cert *tls.Certificate, sessions tls.ClientSessionCache) (resumed bool, err error) {
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, ClientSessionCache: sessions}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	response, err := client.Get(g.URL)
	if err != nil {
		return false, err
	}
	return response.TLS.DidResume, response.Body.Close()
}

func TestClientCertificates(t *testing.T) {
	ours, others := newAuthority(t, nil), newAuthority(t, nil)
	below := newAuthority(t, ours)
	tests := []struct {
		name   string
		only   string // --client-name
		cert   *tls.Certificate
		reason string // empty: let in
	}{
		{"without a name any certificate of the authority is good", "", ours.client(t, nil), ""},
		{"the common name fits", "apiserver", ours.client(t, nil), ""},
		{"a DNS name fits", "api.example.test", ours.client(t, func(c *x509.Certificate) { c.DNSNames = []string{"a.test", "api.example.test"} }), ""},
		{"an intermediate that the client sends along is used", "apiserver", below.client(t, nil, below), ""},
		{"an intermediate that is missing", "", below.client(t, nil), refusedUntrusted},
		{"no certificate", "", nil, refusedMissing},
		{"a certificate of another authority with the right name", "apiserver", others.client(t, nil), refusedUntrusted},
		{"another authority sent along makes no difference", "apiserver", others.client(t, nil, others), refusedUntrusted},
		{"a certificate of the authority with another name", "apiserver", ours.client(t, func(c *x509.Certificate) { c.Subject.CommonName = "kubelet" }), refusedName},
		{"a name that only begins alike", "apiserver", ours.client(t, func(c *x509.Certificate) { c.Subject.CommonName = "apiserver2" }), refusedName},
		{"a wildcard is no name", "api.example.test", ours.client(t, func(c *x509.Certificate) { c.DNSNames = []string{"*.example.test"} }), refusedName},
		{"a certificate that has expired", "", ours.client(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), refusedExpired},
		{"a certificate that is for servers", "", ours.client(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), refusedUntrusted},
	}
	for _, tt := range tests {
		for version, suffix := range map[uint16]string{tls.VersionTLS12: " (TLS 1.2)", tls.VersionTLS13: " (TLS 1.3)"} {
			t.Run(tt.name+suffix, func(t *testing.T) {
				g := newGuarded(t, ours.pem(), tt.only)
				_, err := g.call(version, tt.cert, nil)
				if (err == nil) != (tt.reason == "") {
					t.Errorf("refused with %v, want reason %q", err, tt.reason)
				}
				for _, reason := range []string{refusedMissing, refusedExpired, refusedUntrusted, refusedName} {
					want := 0.0
					if reason == tt.reason {
						want = 1
					}
					if got := testutil.ToFloat64(g.refused.WithLabelValues(reason)); got != want {
						t.Errorf("refused as %s: %v times, want %v", reason, got, want)
					}
				}
			})
		}
	}
}

func TestClientCAIsReloadedAndResumedConnectionsAreJudgedAnew(t *testing.T) {
	old, next := newAuthority(t, nil), newAuthority(t, nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		g := newGuarded(t, old.pem(), "")
		replace := func(content []byte) {
			if err := os.WriteFile(g.auth.file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			g.auth.report(g.auth.watched.Check()) // it is seen
			g.auth.report(g.auth.watched.Check()) // it no longer changes
		}
		cert, sessions := old.client(t, nil), tls.NewLRUClientSessionCache(1)
		if _, err := g.call(version, cert, sessions); err != nil {
			t.Fatal(err)
		}
		if resumed, err := g.call(version, cert, sessions); err != nil || !resumed {
			t.Fatalf("resumed %v, error %v: the test shows nothing", resumed, err)
		}
		replace([]byte("nonsense"))
		if _, err := g.call(version, cert, sessions); err != nil {
			t.Errorf("after a file that can't be used: %v", err)
		}
		replace(append(old.pem(), next.pem()...))
		for _, a := range []*authority{old, next} {
			if _, err := g.call(version, a.client(t, nil), nil); err != nil {
				t.Errorf("while both are trusted: %v", err)
			}
		}
		replace(next.pem())
		if _, err := g.call(version, cert, sessions); err == nil {
			t.Error("a resumed connection outlives its authority")
		}
	}
}

func TestClientCAFileThatCantBeUsed(t *testing.T) {
	ca := newAuthority(t, nil)
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	tests := []struct{ name, content, want string }{
		{"an empty file", "", "has no certificate in PEM"},
		{"a key beside the certificate", string(ca.pem()) + string(key), `has a PEM block "PRIVATE KEY": give certificates alone`},
		{"a second certificate that is broken", string(ca.pem()) + string(broken), "certificate 2: x509: malformed certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ca.crt")
			if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := newClientAuth(file, "", metrics.New().ClientsRefused, logr.Discard())
			if err == nil || !strings.HasPrefix(err.Error(), "--client-ca: "+file+": "+tt.want) {
				t.Errorf("got %v, want --client-ca: %s: %s", err, file, tt.want)
			}
		})
	}
}

func TestFailedHandshakesDoNotFloodTheLog(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogger("info", "json", &out)
	if err != nil {
		t.Fatal(err)
	}
	l := &httpLog{log: log}
	std := stdlog.New(l, "", 0)
	for range 1000 {
		std.Print("http: TLS handshake error from 10.0.0.1:1234: remote error: tls: bad certificate\n")
		std.Print("http: TLS handshake error from 10.0.0.1:1234: EOF")
	}
	if got := strings.Count(out.String(), "\n"); got != handshakesLogged {
		t.Errorf("%d lines, want %d", got, handshakesLogged)
	}
	for _, want := range []string{`"from":"10.0.0.1:1234"`, `"reason":"remote error: tls: bad certificate"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %s in %s", want, out.String())
		}
	}
	out.Reset()
	l.throttle.since = l.throttle.since.Add(-handshakeWindow)
	std.Print("http: TLS handshake error from 10.0.0.1:1234: remote error: tls: bad certificate")
	if want := `"omittedBefore":990`; !strings.Contains(out.String(), want) {
		t.Errorf("want %s in %s", want, out.String())
	}
	out.Reset()
	std.Print("http: panic serving 10.0.0.1:1234: boom")
	if !strings.Contains(out.String(), "boom") {
		t.Error("what is no handshake is lost")
	}
}
