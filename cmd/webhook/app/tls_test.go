package app

import (
	"crypto/tls"
	"strings"
	"testing"
)

func TestTLSFlags(t *testing.T) {
	tests := []struct {
		name    string
		version string
		suites  []string
		want    string // empty: good
	}{
		{"the defaults", "VersionTLS12", nil, ""},
		{"TLS 1.3 alone", "VersionTLS13", nil, ""},
		{"suites of TLS 1.2", "VersionTLS12", []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"}, ""},
		{"the older name of a suite", "VersionTLS12", []string{"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, ""},
		{"suites of TLS 1.3 beside others", "VersionTLS12", []string{"TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, ""},
		{"suites where they make no difference", "VersionTLS13", []string{"TLS_AES_128_GCM_SHA256"}, ""},
		{"an old version", "VersionTLS10", nil, `--tls-min-version: "VersionTLS10" is none of VersionTLS12, VersionTLS13`},
		{"a version in Go's words", "1.2", nil, `--tls-min-version: "1.2" is none of`},
		{"a suite that is not secure", "VersionTLS12", []string{"TLS_RSA_WITH_RC4_128_SHA"}, `--tls-cipher-suites: "TLS_RSA_WITH_RC4_128_SHA" is not secure: use some of TLS_`},
		{"a suite that there is not", "VersionTLS12", []string{"AES"}, `--tls-cipher-suites: "AES" is unknown: use some of TLS_`},
		{"none that HTTP/2 needs", "VersionTLS12", []string{"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"}, "--tls-cipher-suites: HTTP/2 needs TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := NewOptions()
			o.SelfSigned, o.TLSMinVersion, o.TLSCipherSuites = true, tt.version, tt.suites
			err := o.Validate()
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestTLSFlagsTakeEffect(t *testing.T) {
	o := NewOptions()
	o.TLSMinVersion, o.TLSCipherSuites = "VersionTLS13", []string{"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"}
	c := (&Server{options: o}).tlsConfig()
	if c.MinVersion != tls.VersionTLS13 || len(c.CipherSuites) != 1 || c.CipherSuites[0] != tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 {
		t.Errorf("got %x and %x", c.MinVersion, c.CipherSuites)
	}
}

func TestLimitFlags(t *testing.T) {
	tests := []struct {
		name, bytes string
		reviews     int
		want        string
	}{
		{"the defaults", defaultInflightBytes, 128, ""},
		{"a plain number", "104857600", 1, ""},
		{"no quantity", "much", 1, `--max-inflight-bytes: "much" is no quantity, such as 96Mi`},
		{"too little for the largest review", "64Mi", 1, "--max-inflight-bytes: 64Mi is less than 88Mi, which the largest review needs"},
		{"no reviews", defaultInflightBytes, 0, "--max-inflight-reviews: 0 is less than 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := NewOptions()
			o.SelfSigned, o.MaxInflightBytes, o.MaxInflightReviews = true, tt.bytes, tt.reviews
			err := o.Validate()
			if (err == nil) != (tt.want == "") || (err != nil && err.Error() != tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
