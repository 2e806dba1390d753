package token

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"regexp"
	"strings"
	"testing"
)

// Errors are sentences of a closed set, with no more than numbers in them, so
// that no part of a token or key can be.
var (
	parseErrors = regexp.MustCompile(`^(token|header|payload|signature): (` + strings.Join([]string{
		`not three parts separated by dots`, `a character that is not of base64url without padding`, `cut off`, `empty`, `not UTF-8`,
		`not base64url without padding`, `not a JSON object with alg and kid as strings, each name once`, `longer than 16384 bytes`,
		`not a JSON object with the claims of RFC 7519, each name once`, `nested more than 16 deep`, `has what no token of Kubernetes has`,
	}, "|") + `)$`)
	keyErrors = regexp.MustCompile(`^keys: ((PEM block|JWK) \d+: )?(` + strings.Join([]string{
		`longer than 1048576 bytes`, `neither a PEM block nor a JWKS with a key`, `more than 256`, `not a JWKS document`,
		`not a key that is understood`, `neither an RSA nor an EC key`, `an EC key that is not on P-256, P-384 or P-521`,
		`an RSA key of more than 16384 bits`, `a key that X.509 cannot express`,
	}, "|") + `)$`)
	certificateErrors = regexp.MustCompile(`^certificates: (longer than 1048576 bytes|more than 1000|none|PEM block \d+: not a certificate)$`)
)

// Every input is tried as a token, as a payload and as a header: mutated
// base64 would seldom come to JSON.
func FuzzParse(f *testing.F) {
	for _, payload := range []object{legacyPayload(), boundPayload(), boundTo(object{"pod": nil}), {"iss": "https://other", "sub": "somebody"}} {
		f.Add([]byte(usual(f, payload)))
		f.Add([]byte(sign(f, "ES256", ecKey(), "", payload)))
		f.Add(toJSON(payload))
	}
	f.Add([]byte(`{"alg":"RS256","kid":"k","typ":"JWT","crit":["b64"],"b64":false,"x5c":[""],"jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"},"nonce":"n"}`))
	for _, c := range refused() {
		if len(c.raw) < 4<<10 {
			f.Add([]byte(c.raw))
		}
	}
	keys := NewKeySet(KeySetOptions{Keys: []Key{public(f, rsaKey()), public(f, ecKey())}, Issuers: []string{issuer}})
	f.Fuzz(func(t *testing.T, raw []byte) {
		tryToken(t, keys, raw)
		tryToken(t, keys, []byte(encode([]byte(head))+"."+encode(raw)+".c2ln"))
		tryToken(t, keys, []byte(encode(raw)+"."+encode([]byte("{}"))+".c2ln"))
	})
}

func tryToken(t *testing.T, keys *KeySet, raw []byte) {
	recognised := Recognise(raw)
	token, err := Parse(raw)
	if err != nil {
		var parseError *ParseError
		if !errors.As(err, &parseError) || !parseErrors.MatchString(err.Error()) {
			t.Errorf("an error outside the closed set: %v", err)
		}
		return
	}
	c := token.Claims
	if recognised && c.Kind == Other && !strings.HasPrefix(c.Subject, subjectPrefix) {
		t.Error("recognised, but no service account's")
	}
	if got := Verify(token, keys, &Facts{}, now); got.Verdict == Valid || got.Reason.Text() == "" {
		t.Errorf("without facts it is %v (%s)", got.Verdict, got.Reason)
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(spki(rsaKey().Public()) + pkcs8(ecKey())))
	f.Add([]byte(sec1(ecKey())))
	f.Add([]byte(newAuthority(f, "ca").pem()))
	f.Add([]byte(`{"keys":[{"use":"sig","kty":"EC","kid":"k","crv":"P-256","alg":"ES256","x":"AA","y":"AA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := ParseKeys(data)
		if err != nil && !keyErrors.MatchString(err.Error()) || (err == nil) == (len(keys) == 0) {
			t.Errorf("%d keys, and an error outside the closed set: %v", len(keys), err)
		}
		for _, k := range keys {
			switch k.Public.(type) {
			case *rsa.PublicKey, *ecdsa.PublicKey:
			default:
				t.Errorf("a %T was kept", k.Public)
			}
		}
		bundle, err := ParseCertificates(data)
		if err != nil && !certificateErrors.MatchString(err.Error()) {
			t.Errorf("an error outside the closed set: %v", err)
		}
		Trusts(bundle, bundle, now)
	})
}
