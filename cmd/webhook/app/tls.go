package app

import (
	"crypto/tls"
	"maps"
	"slices"
	"strings"
)

// tlsVersions have the names that the components of Kubernetes give them. Older ones
// are not offered: no API server that is supported needs them.
func tlsVersions() map[string]uint16 {
	return map[string]uint16{"VersionTLS12": tls.VersionTLS12, "VersionTLS13": tls.VersionTLS13}
}

// tlsSuites have the names that the components of Kubernetes give them, their two
// older ones included.
func tlsSuites() map[string]uint16 {
	suites := map[string]uint16{
		"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	}
	for _, s := range tls.CipherSuites() {
		suites[s.Name] = s.ID
	}
	return suites
}

// validateTLS is the part of Validate about TLS.
func (o *Options) validateTLS(fail func(flag, format string, args ...any)) {
	versions, suites := tlsVersions(), tlsSuites()
	if _, ok := versions[o.TLSMinVersion]; !ok {
		fail("tls-min-version", "%q is none of %s", o.TLSMinVersion, strings.Join(slices.Sorted(maps.Keys(versions)), ", "))
	}
	ids := make([]uint16, 0, len(o.TLSCipherSuites))
	for _, name := range o.TLSCipherSuites {
		id, ok := suites[name]
		ids = append(ids, id)
		if ok {
			continue
		}
		problem := "is unknown"
		if slices.ContainsFunc(tls.InsecureCipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name }) {
			problem = "is not secure"
		}
		fail("tls-cipher-suites", "%q %s: use some of %s", name, problem, strings.Join(slices.Sorted(maps.Keys(suites)), ", "))
		return
	}
	// RFC 9113, section 9.2.2. Without HTTP/2 each review under way takes a connection.
	if len(ids) > 0 && o.TLSMinVersion != "VersionTLS13" &&
		!slices.Contains(ids, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) && !slices.Contains(ids, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) {
		fail("tls-cipher-suites", "HTTP/2 needs TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 among them, or --tls-min-version=VersionTLS13")
	}
}

// tlsConfig is for all ports with TLS.
func (s *Server) tlsConfig() *tls.Config {
	config := &tls.Config{MinVersion: tlsVersions()[s.options.TLSMinVersion], GetCertificate: s.getCert}
	suites := tlsSuites()
	for _, name := range s.options.TLSCipherSuites {
		config.CipherSuites = append(config.CipherSuites, suites[name])
	}
	return config
}
