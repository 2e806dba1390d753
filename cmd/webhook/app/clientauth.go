package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"tokenward.dev/tokenward/pkg/filewatch"
	"tokenward.dev/tokenward/pkg/logonce"
)

// clientCAInterval is how often the file of --client-ca is read again.
const clientCAInterval = 2 * time.Second

// Why a client is refused: a closed set of metric labels.
const (
	refusedMissing   = "missing"
	refusedExpired   = "expired"
	refusedUntrusted = "untrusted"
	refusedName      = "name"
)

// clientAuth lets in only clients with a certificate of an authority that is
// given in a file, and reads that file again when it changes.
type clientAuth struct {
	file, name string
	pool       atomic.Pointer[x509.CertPool]
	watched    *filewatch.File
	failures   *logonce.Failures
	now        func() time.Time
	refused    *prometheus.CounterVec
	log        logr.Logger
}

func newClientAuth(file, name string, refused *prometheus.CounterVec, log logr.Logger) (*clientAuth, error) {
	a := &clientAuth{file: file, name: name, now: time.Now, refused: refused, log: log, failures: logonce.New(log)}
	for _, reason := range []string{refusedMissing, refusedExpired, refusedUntrusted, refusedName} {
		refused.WithLabelValues(reason) // so that a rate over it is right from the first one on
	}
	var err error
	if a.watched, err = filewatch.Read(file, a.load); err != nil {
		return nil, fmt.Errorf("--client-ca: %w", err)
	}
	return a, nil
}

// configure is for the TLS configuration of the webhook port. Verification is
// ours alone, in VerifyConnection, which crypto/tls calls for every connection,
// resumed ones included: so the authorities of this moment decide, and a client
// without any certificate is counted, too. ClientCAs stays empty, so that a client
// sends what it has, and hears what is wrong with it.
func (a *clientAuth) configure(c *tls.Config) {
	c.ClientAuth = tls.RequestClientCert
	c.VerifyConnection = a.verify
}

func (a *clientAuth) verify(state tls.ConnectionState) error {
	reason, err := a.judge(state.PeerCertificates)
	if err != nil {
		a.refused.WithLabelValues(reason).Inc()
		return fmt.Errorf("client refused: %w", err)
	}
	return nil
}

func (a *clientAuth) judge(presented []*x509.Certificate) (reason string, err error) {
	if len(presented) == 0 {
		return refusedMissing, errors.New("it presented no certificate")
	}
	leaf, intermediates := presented[0], x509.NewCertPool()
	for _, c := range presented[1:] {
		intermediates.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: a.pool.Load(), Intermediates: intermediates, CurrentTime: a.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return refusedExpired, err
	}
	if err != nil {
		return refusedUntrusted, err
	}
	if a.name != "" && leaf.Subject.CommonName != a.name && !slices.Contains(leaf.DNSNames, a.name) {
		return refusedName, fmt.Errorf("its certificate is for %.64q, and neither that nor a DNS name in it is --client-name", leaf.Subject.CommonName)
	}
	return "", nil
}

// start reloads the file when it changes, until the context ends.
func (a *clientAuth) start(ctx context.Context) error {
	a.watched.Follow(ctx, clientCAInterval, a.report)
	return nil
}

// report tells what a look at the file came to.
func (a *clientAuth) report(news bool, err error) {
	if !news {
		return
	}
	a.failures.Report("load", err, "The client CA can't be used; the last good one stays in force", "file", a.file)
	if err == nil {
		a.log.Info("Client CA reloaded", "file", a.file)
	}
}

func (a *clientAuth) load(content []byte) error {
	pool, err := parseCertificates(content)
	if err != nil {
		return fmt.Errorf("%s: %w", a.file, err)
	}
	a.pool.Store(pool)
	return nil
}

// parseCertificates is x509.CertPool.AppendCertsFromPEM that does not pass over
// what it can't read.
func parseCertificates(content []byte) (*x509.CertPool, error) {
	pool, count := x509.NewCertPool(), 0
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("has a PEM block %.64q: give certificates alone", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", count+1, err)
		}
		pool.AddCert(cert)
		count++
	}
	if count == 0 {
		return nil, errors.New("has no certificate in PEM")
	}
	return pool, nil
}
