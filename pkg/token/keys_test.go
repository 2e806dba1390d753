package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func block(kind string, der []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func spki(key crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	return block("PUBLIC KEY", der, err)
}

func pkcs8(key crypto.PrivateKey) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return block("PRIVATE KEY", der, err)
}

func sec1(key *ecdsa.PrivateKey) string {
	der, err := x509.MarshalECPrivateKey(key)
	return block("EC PRIVATE KEY", der, err)
}

func jwks(keys ...jose.JSONWebKey) string { return string(toJSON(jose.JSONWebKeySet{Keys: keys})) }

func TestParseKeys(t *testing.T) {
	private, elliptical := rsaKey(), ecKey()
	pkcs1 := block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private), nil)
	certificate := newAuthority(t, "ca").pem()
	parameters := block("EC PARAMETERS", []byte{6, 8, 42}, nil)
	rsaID, ecID := public(t, private).ID, public(t, elliptical).ID
	for _, c := range []struct {
		name, data string
		want       []string // ids; "" is any
	}{
		{"an RSA key in PKIX", spki(private.Public()), []string{rsaID}},
		{"an EC key in PKIX", spki(elliptical.Public()), []string{ecID}},
		{"P-384 and P-521", spki(newECKey(elliptic.P384()).Public()) + spki(newECKey(elliptic.P521()).Public()), []string{"", ""}},
		{"an RSA key in PKCS 1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&private.PublicKey), nil), []string{rsaID}},
		{"private keys in PKCS 1 and PKCS 8", pkcs1 + pkcs8(elliptical), []string{rsaID, ecID}},
		{"a private EC key with its parameters", parameters + sec1(elliptical), []string{ecID}},
		{"a certificate", certificate, []string{""}},
		{"text around the blocks", "the old key\n" + spki(private.Public()) + "the new key\n" + spki(elliptical.Public()), []string{rsaID, ecID}},
		{"a JWKS", "\n" + jwks(jose.JSONWebKey{Key: private.Public(), KeyID: "a"}, jose.JSONWebKey{Key: elliptical.Public(), KeyID: "b"}), []string{"a", "b"}},
		{"a JWKS without key ids", jwks(jose.JSONWebKey{Key: private.Public()}), []string{rsaID}},
		{"a JWKS with private keys", jwks(jose.JSONWebKey{Key: private, KeyID: "a"}, jose.JSONWebKey{Key: elliptical}), []string{"a", ecID}},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, err := ParseKeys([]byte(c.data))
			if err != nil || len(keys) != len(c.want) {
				t.Fatalf("%d keys, %v", len(keys), err)
			}
			for i, k := range keys {
				if c.want[i] != "" && k.ID != c.want[i] || k.ID == "" {
					t.Errorf("id %q, want %q", k.ID, c.want[i])
				}
				switch k.Public.(type) {
				case *rsa.PublicKey, *ecdsa.PublicKey:
				default:
					t.Errorf("a %T was kept", k.Public)
				}
			}
		})
	}
}

func TestParseKeysRefuses(t *testing.T) {
	edPublic, edPrivate, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	one := spki(ecKey().Public())
	giant := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), maxRSABits), E: 65537}
	for _, c := range []struct{ name, data, want string }{
		{"nothing", "", "keys: neither a PEM block nor a JWKS with a key"},
		{"an empty JWKS", `{"keys":[]}`, "keys: neither a PEM block nor a JWKS with a key"},
		{"some other JSON", `{"keys":1}`, "keys: not a JWKS document"},
		{"broken JSON", `{"keys":[`, "keys: not a JWKS document"},
		{"an Ed25519 key", spki(edPublic), "keys: PEM block 1: neither an RSA nor an EC key"},
		{"a private Ed25519 key", one + pkcs8(edPrivate), "keys: PEM block 2: neither an RSA nor an EC key"},
		{"P-224", spki(newECKey(elliptic.P224()).Public()), "keys: PEM block 1: an EC key that is not on P-256, P-384 or P-521"},
		{"a key that is broken", block("PUBLIC KEY", []byte("hello"), nil), "keys: PEM block 1: neither an RSA nor an EC key"},
		{"a shared secret", jwks(jose.JSONWebKey{Key: []byte("secret")}), "keys: JWK 1: not a key that is understood"},
		{"an Ed25519 key in a JWKS", jwks(jose.JSONWebKey{Key: ecKey().Public()}, jose.JSONWebKey{Key: edPublic}), "keys: JWK 2: neither an RSA nor an EC key"},
		{"a JWK of a new kind", `{"keys":[{"kty":"new"}]}`, "keys: JWK 1: not a key that is understood"},
		{"null", `{"keys":[null]}`, "keys: JWK 1: not a key that is understood"},
		{"an enormous key", spki(giant), "keys: PEM block 1: an RSA key of more than 16384 bits"},
		{"too many keys", strings.Repeat(one, maxKeys+1), "keys: more than 256"},
		{"too many JWKs", `{"keys":[` + strings.Repeat("1,", maxKeys) + `1]}`, "keys: more than 256"},
		{"too much", strings.Repeat("\n", maxKeysSize+1), "keys: longer than 1048576 bytes"},
	} {
		if keys, err := ParseKeys([]byte(c.data)); keys != nil || err == nil || err.Error() != c.want {
			t.Errorf("%s: %d keys, %v, want %s", c.name, len(keys), err, c.want)
		}
	}
}

func TestKeySet(t *testing.T) {
	key := public(t, ecKey())
	keys, issuers := []Key{key, key, {ID: "another", Public: key.Public}}, []string{"a"}
	set := NewKeySet(KeySetOptions{Keys: keys, Issuers: issuers})
	keys[0].ID, issuers[0] = "changed", "changed"
	set.Keys()[0].ID = "changed"
	if got := set.Keys(); len(got) != 2 || got[0].ID != key.ID || got[1].ID != "another" {
		t.Errorf("got %v", got)
	}
	if !set.Knows("another") || set.Knows("changed") || set.Knows("") {
		t.Error("the wrong key ids are known")
	}
	if !set.takesIssuer(&Claims{Issuer: "a"}) || set.takesIssuer(&Claims{Issuer: "changed"}) {
		t.Error("the issuers changed")
	}
}
