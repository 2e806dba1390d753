package sim

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"sync"
	"time"
)

// authority is a cluster's CA with the certificate that it made for API servers.
type authority struct {
	name  string
	pem   []byte // ca.crt
	chain []*x509.Certificate
}

// authorities are all CAs, as kubeadm would make them: each has the same subject.
// Those whose name ends in "-plain" have no key identifiers either, so that nothing
// but the keys tells them apart.
var authorities = sync.OnceValue(func() map[string]*authority { //nolint:gochecknoglobals // written once
	all := map[string]*authority{}
	for _, name := range []string{"ca0", "ca1", "ca2", "ca0-plain", "ca1-plain", "ca2-plain"} {
		all[name] = newAuthority(name, len(name) > 3)
	}
	return all
})

func newAuthority(name string, plain bool) *authority {
	key, leafKey := newSigningKey(name).private, newSigningKey(name+" server").private
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0), Subject: pkix.Name{CommonName: "kubernetes"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	root := certificate(template, template, key.Public(), key)
	parent := *root
	if plain {
		parent.SubjectKeyId = nil
	}
	leaf := certificate(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver"}, DNSNames: []string{"kubernetes"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotBefore: template.NotBefore, NotAfter: template.NotAfter,
	}, &parent, leafKey.Public(), key)
	return &authority{name: name, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}), chain: []*x509.Certificate{leaf}}
}

func certificate(template, parent *x509.Certificate, public, private any) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, private)
	if err != nil {
		panic(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return made
}

// rotateCA regenerates the cluster's certificates: each API server presents a new
// one at a time of its own, and the token controller writes the new CA into token
// Secrets at some other time, or never.
func (w *world) rotateCA() {
	w.mu.Lock()
	if len(w.unusedCAs) == 0 {
		w.mu.Unlock()
		return
	}
	fresh := w.unusedCAs[0]
	w.unusedCAs = w.unusedCAs[1:]
	w.mu.Unlock()
	r := w.random
	longest := pick(r, []time.Duration{50 * time.Millisecond, 5 * time.Second, 30 * time.Second})
	for _, s := range w.servers {
		at, down := r.between(time.Millisecond, longest), r.between(time.Millisecond, time.Second)
		w.after(at, func() {
			w.goDown(s)
			time.Sleep(down)
			w.mu.Lock()
			s.ca = fresh
			w.mu.Unlock()
			w.goUp(s)
			w.trace("%s presents a certificate of %s", s, fresh.name)
		})
	}
	if r.chance(25) {
		return
	}
	ns, to := pick(r, namespaces()), w.someReplica()
	p := pick(r, w.tokenPods(ns))
	w.after(r.between(time.Millisecond, 2*longest), func() {
		w.mu.Lock()
		w.rootCA = fresh
		w.mu.Unlock()
		w.trace("the token controller knows %s", fresh.name)
		for _, o := range w.store.all("secrets", "") {
			if o.typ == tokenSecretType && len(o.data["ca.crt"]) > 0 {
				w.change(o.id, func(o *object) { o.data["ca.crt"] = fresh.pem })
			}
		}
		w.ask(p, to)
	})
}

// judgeCA compares a ca.crt with what the API servers present.
func (w *world) judgeCA(text []byte, out *truth) {
	w.mu.Lock()
	fits, others := 0, 0
	for _, s := range w.servers {
		switch {
		case !s.up:
		case slices.Equal(s.ca.pem, text):
			fits++
		default:
			others++
		}
	}
	w.mu.Unlock()
	switch {
	case fits == 0 && others > 0:
		out.isBad(badCA)
	case others > 0:
		out.good, out.mixed = false, true
	case fits == 0:
		out.good = false
	}
}
