package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

const (
	// These bound what ParseKeys reads, and so what a token can cost: an old
	// one names no key, so that every one is tried.
	maxKeysSize = 1 << 20
	maxKeys     = 256
	maxRSABits  = 16 << 10
)

// Key is a key that verifies tokens.
type Key struct {
	// ID is what the header of a token calls it.
	ID string
	// Public is an *rsa.PublicKey, or an *ecdsa.PublicKey on P-256, P-384 or P-521.
	Public crypto.PublicKey
}

// ParseKeys reads what kube-apiserver's --service-account-key-file takes: PEM
// blocks with public keys, certificates, or private keys, of which only the
// public half is kept; or a JWKS document, as the API server serves it. It fails
// on whatever else is in there, but for "EC PARAMETERS", and if there is no key.
func ParseKeys(data []byte) ([]Key, error) {
	if len(data) > maxKeysSize {
		return nil, fmt.Errorf("keys: longer than %d bytes", maxKeysSize)
	}
	parse := parsePEM
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		parse = parseJWKS
	}
	keys, err := parse(data)
	if err == nil && len(keys) == 0 {
		err = errors.New("keys: neither a PEM block nor a JWKS with a key")
	}
	if err != nil {
		return nil, err
	}
	return keys, nil
}

func parsePEM(data []byte) ([]Key, error) {
	var keys []Key
	for n := 1; ; n++ {
		block, rest := pem.Decode(data)
		if block == nil {
			return keys, nil
		}
		if data = rest; block.Type == "EC PARAMETERS" {
			continue
		}
		if len(keys) == maxKeys {
			return nil, fmt.Errorf("keys: more than %d", maxKeys)
		}
		key, err := newKey("", publicKey(block.Bytes))
		if err != nil {
			return nil, fmt.Errorf("keys: PEM block %d: %w", n, err)
		}
		keys = append(keys, key)
	}
}

// publicKey goes by what is in a block and not by what it calls itself, as
// upstream does (k8s.io/client-go/util/keyutil). It returns nil for no key.
func publicKey(der []byte) any {
	if key, err := x509.ParsePKIXPublicKey(der); err == nil {
		return key
	}
	if key, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return key
	}
	if certificate, err := x509.ParseCertificate(der); err == nil {
		return certificate.PublicKey
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key.Public()
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key.Public()
	}
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if private, ok := key.(crypto.Signer); ok {
			return private.Public()
		}
	}
	return nil
}

func parseJWKS(data []byte) ([]Key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(data, &set) != nil { // not wrapped: it may quote a private key
		return nil, errors.New("keys: not a JWKS document")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("keys: more than %d", maxKeys)
	}
	keys := make([]Key, 0, len(set.Keys))
	for i, raw := range set.Keys {
		var jwk jose.JSONWebKey
		if jwk.UnmarshalJSON(raw) != nil || !jwk.Valid() {
			return nil, fmt.Errorf("keys: JWK %d: not a key that is understood", i+1)
		}
		public := jwk.Key
		if private, ok := public.(crypto.Signer); ok {
			public = private.Public()
		}
		key, err := newKey(jwk.KeyID, public)
		if err != nil {
			return nil, fmt.Errorf("keys: JWK %d: %w", i+1, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// newKey fails for all but the public keys that an API server takes. Without an
// id the key gets the one that the API server gives it (keyIDFromPublicKey).
func newKey(id string, public any) (Key, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() > maxRSABits {
			return Key{}, fmt.Errorf("an RSA key of more than %d bits", maxRSABits)
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return Key{}, errors.New("an EC key that is not on P-256, P-384 or P-521")
		}
	default:
		return Key{}, errors.New("neither an RSA nor an EC key")
	}
	if id == "" {
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return Key{}, errors.New("a key that X.509 cannot express")
		}
		sum := sha256.Sum256(der)
		id = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return Key{ID: id, Public: public}, nil
}

// KeySetOptions say what is known of an API server's keys and issuers. The zero
// value knows nothing.
type KeySetOptions struct {
	Keys []Key
	// Issuers that are accepted besides LegacyIssuer. The API server's audiences
	// are the same, unless it has --api-audiences.
	Issuers []string
	// Audiences to which a token must be addressed; the Issuers if empty.
	Audiences []string
	// Unavailable is set if the keys, or some of them, could not be fetched.
	Unavailable bool
	// Partial is set if the API server may accept more keys than it publishes.
	Partial bool
}

// KeySet is what tokens are checked against. It is immutable.
type KeySet struct{ known KeySetOptions }

// NewKeySet returns a key set. A key that is given twice counts once.
func NewKeySet(o KeySetOptions) *KeySet {
	var keys []Key
	for _, k := range o.Keys {
		if !slices.ContainsFunc(keys, k.equal) {
			keys = append(keys, k)
		}
	}
	o.Keys, o.Issuers, o.Audiences = keys, slices.Clone(o.Issuers), slices.Clone(o.Audiences)
	return &KeySet{known: o}
}

func (k Key) equal(other Key) bool {
	public, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.ID == other.ID && public.Equal(other.Public)
}

// Keys returns a copy of the keys.
func (s *KeySet) Keys() []Key { return slices.Clone(s.known.Keys) }

// Knows reports whether a key of that id is in the set.
func (s *KeySet) Knows(id string) bool {
	return slices.ContainsFunc(s.known.Keys, func(k Key) bool { return k.ID == id })
}

// Complete reports whether the keys are all that the API server accepts, as far as
// anybody can tell.
func (s *KeySet) Complete() bool {
	return s != nil && !s.known.Unavailable && !s.known.Partial && len(s.known.Keys) > 0
}

func (s *KeySet) takesIssuer(c *Claims) bool {
	return c.Kind == Legacy || slices.Contains(s.known.Issuers, c.Issuer)
}

// takesAudience reports whether the token is meant for the API server, or for
// whoever was given as audience. One that names nobody is for the API server.
func (s *KeySet) takesAudience(c *Claims) bool {
	meant, wanted := c.Audiences, s.known.Audiences
	if len(wanted) == 0 {
		wanted = s.known.Issuers
		if len(meant) == 0 {
			return true
		}
	}
	if len(meant) == 0 {
		meant = s.known.Issuers
	}
	return slices.ContainsFunc(meant, func(a string) bool { return slices.Contains(wanted, a) })
}

// For returns the same keys and issuers for other audiences than the API server's.
func (s *KeySet) For(audiences []string) *KeySet {
	known := s.known
	known.Audiences = slices.Clone(audiences)
	return &KeySet{known: known}
}

// misfit says why no key fits a token, or nothing if one does. With a key id
// only the keys of that id are tried, as upstream does.
func (s *KeySet) misfit(t *Token) Reason {
	for _, k := range s.known.Keys {
		if t.KeyID != "" && t.KeyID != k.ID {
			continue
		}
		if _, err := t.signed.Verify(k.Public); err == nil {
			return ""
		}
	}
	switch {
	case t.KeyID != "" && s.Knows(t.KeyID):
		return BadSignature
	case s.known.Unavailable || len(s.known.Keys) == 0:
		return KeysUnavailable
	case s.known.Partial:
		return KeysPartial
	}
	// Whether the key is gone is a matter of time: see Facts.SigningKey. Also without
	// a key id: those are old tokens, and old keys are what a roll-out takes away.
	return KeyUnsettled
}
