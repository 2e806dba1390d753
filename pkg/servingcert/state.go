package servingcert

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The keys of the Secret. Those of the serving certificate and of the bundle are
// the usual ones, so that other tools can read them.
const (
	servingCert = corev1.TLSCertKey
	servingKey  = corev1.TLSPrivateKeyKey
	// bundleKey has every authority that is to be trusted, the newest first:
	// what caBundle must be.
	bundleKey = corev1.ServiceAccountRootCAKey
	// signerKey has the keys of those authorities that still sign, or are to.
	signerKey = "ca.key"
)

// state is what the replicas share.
type state struct {
	authorities []authority      // the newest first, each once
	serving     *tls.Certificate // with its Leaf; nil if there is none
}

// parse reads what is usable in the data of a Secret. It leaves out the rest, which
// rules.advance makes anew.
func parse(data map[string][]byte) state {
	keys := parseKeys(data[signerKey])
	var s state
	for _, der := range blocks(data[bundleKey], "CERTIFICATE") {
		cert, err := x509.ParseCertificate(der)
		if err != nil || cert.Subject.CommonName != authorityName || cert.CheckSignatureFrom(cert) != nil {
			continue // not of our making
		}
		a := authority{cert: cert}
		for _, k := range keys {
			if public, ok := k.Public().(interface{ Equal(crypto.PublicKey) bool }); ok && public.Equal(cert.PublicKey) {
				a.key = k
			}
		}
		s.authorities = append(s.authorities, a)
	}
	if pair, err := tls.X509KeyPair(data[servingCert], data[servingKey]); err == nil {
		s.serving = &pair
	}
	return s.merge(state{})
}

func parseKeys(text []byte) []crypto.Signer {
	var keys []crypto.Signer
	for _, der := range blocks(text, "PRIVATE KEY") {
		if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				keys = append(keys, signer)
			}
		}
	}
	return keys
}

func blocks(text []byte, kind string) [][]byte {
	var all [][]byte
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return all
		}
		if block.Type == kind {
			all = append(all, block.Bytes)
		}
	}
}

// data returns the data of the Secret for a state.
func (s state) data() (map[string][]byte, error) {
	var keys []byte
	for _, a := range s.authorities {
		if a.key == nil {
			continue
		}
		key, err := keyPEM(a.key)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key...)
	}
	key, err := keyPEM(s.serving.PrivateKey)
	if err != nil {
		return nil, err
	}
	var chain []byte
	for _, der := range s.serving.Certificate {
		chain = append(chain, certificatePEM(der)...)
	}
	return map[string][]byte{bundleKey: s.bundle(), signerKey: keys, servingCert: chain, servingKey: key}, nil
}

// bundle returns what caBundle must be.
func (s state) bundle() []byte {
	var all []byte
	for _, a := range s.authorities {
		all = append(all, certificatePEM(a.cert.Raw)...)
	}
	return all
}

// merge adds the authorities and keys of another state; the serving certificate
// stays. So nothing that may be in use is lost with a Secret that was deleted,
// damaged, or restored from a backup: its replicas put it back from memory.
func (s state) merge(other state) state {
	merged := state{serving: s.serving}
	for _, a := range slices.Concat(s.authorities, other.authorities) {
		if i := slices.IndexFunc(merged.authorities, func(b authority) bool { return b.cert.Equal(a.cert) }); i < 0 {
			merged.authorities = append(merged.authorities, a)
		} else if merged.authorities[i].key == nil {
			merged.authorities[i].key = a.key
		}
	}
	// All replicas must come to the same order.
	slices.SortFunc(merged.authorities, func(a, b authority) int {
		if order := b.cert.NotBefore.Compare(a.cert.NotBefore); order != 0 {
			return order
		}
		return bytes.Compare(a.cert.Raw, b.cert.Raw)
	})
	return merged
}

// issuer returns the index of the authority that issued a certificate, or -1 if the
// certificate is not valid by any of them now.
func (s state) issuer(cert *tls.Certificate, now time.Time) int {
	if cert == nil || cert.Leaf == nil {
		return -1
	}
	return slices.IndexFunc(s.authorities, func(a authority) bool {
		roots := x509.NewCertPool()
		roots.AddCert(a.cert)
		_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now})
		return err == nil
	})
}

// rules say what must become of a state.
type rules struct {
	hosts        []string
	lifetime     time.Duration
	authorityFor time.Duration // the lifetime of an authority
}

// advance returns what a state must become now. It is a pure function, but for
// the keys that it makes; a state that is right comes back as it is.
//
//   - An authority that has come to two thirds of its life gets a successor, which
//     does not sign yet.
//   - Once published says that the API server trusts the successor, the serving
//     certificate is issued by it, and the predecessor's key is dropped.
//   - The predecessor is trusted until it ends. What it signed ends no later, so
//     nothing that a replica may still serve loses its trust.
//   - A serving certificate is renewed after two thirds of its life.
//
// Whatever is missing or can't be used is made anew. An authority that nobody
// trusts yet signs only if there is nothing else to serve with.
func (r rules) advance(s state, now time.Time, published func(*x509.Certificate) bool) (state, error) {
	s.authorities = slices.DeleteFunc(slices.Clone(s.authorities), func(a authority) bool { return now.After(a.cert.NotAfter) })
	// A clock that is far ahead may have made one that is not valid yet.
	signs := func(a authority) bool { return a.key != nil && !now.Before(a.cert.NotBefore) }
	newest := slices.IndexFunc(s.authorities, signs)
	if newest < 0 || !now.Before(renewal(s.authorities[newest].cert, r.authorityFor)) {
		a, err := newAuthority(now, r.authorityFor)
		if err != nil {
			return s, err
		}
		s = s.merge(state{authorities: []authority{a}})
	}
	issuer := s.issuer(s.serving, now)
	signer := slices.IndexFunc(s.authorities, func(a authority) bool { return signs(a) && published(a.cert) })
	if signer < 0 && issuer >= 0 && s.authorities[issuer].key != nil {
		signer = issuer
	}
	for i := len(s.authorities) - 1; i >= 0 && signer < 0 && issuer < 0; i-- {
		if signs(s.authorities[i]) {
			signer = i // the oldest is the likeliest to be trusted
		}
	}
	if signer >= 0 && (issuer < 0 || signer < issuer || r.outdated(s.serving.Leaf, now)) {
		if issuer >= 0 && signer > issuer && s.authorities[issuer].key != nil {
			signer = issuer // another replica has seen more than this one
		}
		cert, err := s.authorities[signer].issue(r.names(s.serving, now), now, r.lifetime)
		if err != nil {
			return s, err
		}
		s.serving, issuer = cert, signer
	}
	for i := range s.authorities {
		if i > issuer {
			s.authorities[i].key = nil
		}
	}
	return s, nil
}

// outdated reports whether a certificate that is still good is to be renewed.
func (r rules) outdated(leaf *x509.Certificate, now time.Time) bool {
	return !now.Before(renewal(leaf, r.lifetime)) || !r.covers(leaf)
}

func (r rules) covers(leaf *x509.Certificate) bool {
	return !slices.ContainsFunc(r.hosts, func(h string) bool { return leaf.VerifyHostname(h) != nil })
}

// names are the hosts of a new certificate. While replicas with other flags run,
// as in an upgrade, it is good for both, or they would replace it in turn.
func (r rules) names(old *tls.Certificate, now time.Time) []string {
	if old == nil || old.Leaf == nil || r.covers(old.Leaf) || !now.Before(old.Leaf.NotAfter) {
		return r.hosts
	}
	names := slices.Concat(r.hosts, old.Leaf.DNSNames)
	for _, ip := range old.Leaf.IPAddresses {
		names = append(names, net.IP.String(ip))
	}
	slices.Sort(names)
	return slices.Compact(names)
}
