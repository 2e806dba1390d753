// Package token is the anatomy of service-account tokens: it parses them, tells
// long-lived from bound ones, and says whether the API server would take one,
// given its keys, its issuers, the time, and what the cluster holds.
//
// The rules are those of k8s.io/kubernetes/pkg/serviceaccount (jwt.go,
// legacy.go, claims.go), read from outside: what cannot be known there is
// Unknown. It is pure: it imports the standard library and go-jose, and no
// context, clock or client; the time is always an argument.
//
// No error, String or Format of this package holds any part of a token, but for
// what a person may see: whose token it is.
package token

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

const (
	// maxSize is the most bytes of a token that are decoded. A legacy token has
	// about 900 and a bound one 1,200; the rest is room for large keys and many
	// audiences.
	maxSize = 16 << 10
	// maxDepth bounds the nesting of header and payload. Kubernetes nests four deep.
	maxDepth = 16
)

// Token is a parsed token. Whether it is any good is for Verify to say.
type Token struct {
	// Algorithm and KeyID stand in the header; KeyID is empty in old tokens.
	Algorithm, KeyID string
	Claims           Claims

	// signed is nil if no API server takes the algorithm.
	signed *jose.JSONWebSignature
	hash   [sha256.Size]byte
}

// Hash returns the SHA-256 of the token as a client sends it: without white
// space around it. The API server compares what is sent with what the Secret
// holds, byte by byte, so a Secret with a line break after its token has another
// hash, and its token is refused.
func (t *Token) Hash() [sha256.Size]byte { return t.hash }

// String says whose token it is, and nothing that would let anybody in.
func (t Token) String() string {
	return fmt.Sprintf("%s token of %q", t.Claims.Kind, t.Claims.Subject)
}

// Format prints String for every verb: %+v must not print the signature.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// ParseError says what is wrong with a token and where, without quoting it.
type ParseError struct {
	// Reason is Malformed or Unusual.
	Reason  Reason
	problem string
}

// Error returns, for example, "payload: not JSON".
func (e *ParseError) Error() string { return e.problem }

// Result returns the judgement on a token that could not be parsed.
func (e *ParseError) Result() Result { return result(e.Reason) }

func malformed(part, problem string) *ParseError {
	return &ParseError{Reason: Malformed, problem: part + ": " + problem}
}

func unusual(part, problem string) *ParseError {
	return &ParseError{Reason: Unusual, problem: part + ": " + problem}
}

// algorithms are those that an RSA or EC key can verify in an API server, which
// parses no other kinds of key (k8s.io/client-go/util/keyutil).
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512,
	}
}

// Parse reads a token in compact serialisation: three parts in base64url
// without padding, separated by dots. White space around it is ignored, as
// every client trims it and no HTTP header can carry it; within, it is an error.
// The error is always a *ParseError.
func Parse(raw []byte) (*Token, error) {
	raw = bytes.TrimSpace(raw)
	parts, err := split(raw)
	if err != nil {
		return nil, err
	}
	header, err := decode("header", parts[0])
	if err != nil {
		return nil, err
	}
	payload, err := decode("payload", parts[1])
	if err != nil {
		return nil, err
	}
	var h struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	if json.Unmarshal(header, &h) != nil {
		return nil, malformed("header", "not a JSON object with alg and kid as strings, each name once")
	}
	t := &Token{Algorithm: h.Algorithm, KeyID: h.KeyID, hash: sha256.Sum256(raw)}
	if t.Claims, err = parseClaims(payload); err != nil {
		return nil, err
	}
	if slices.Contains(algorithms(), jose.SignatureAlgorithm(h.Algorithm)) {
		if len(parts[2]) == 0 {
			return nil, malformed("signature", "empty")
		}
		// What this still refuses, a certificate in the header say, another
		// version of go-jose may take. The error may quote the token.
		if t.signed, err = jose.ParseSignedCompact(string(raw), algorithms()); err != nil {
			return nil, unusual("header", "has what no token of Kubernetes has")
		}
	}
	return t, nil
}

// split cuts a token into header, payload and signature, and refuses whatever
// could not be one. Nothing is decoded yet.
func split(raw []byte) ([3][]byte, error) {
	var parts [3][]byte
	cut := bytes.SplitN(raw, []byte("."), 4)
	if len(cut) != 3 {
		return parts, malformed("token", "not three parts separated by dots")
	}
	for i, name := range []string{"header", "payload", "signature"} {
		for _, b := range cut[i] {
			if !isBase64URL(b) {
				return parts, malformed(name, "a character that is not of base64url without padding")
			}
		}
		if len(cut[i])%4 == 1 {
			return parts, malformed(name, "cut off")
		}
	}
	if len(raw) > maxSize {
		return parts, unusual("token", fmt.Sprintf("longer than %d bytes", maxSize))
	}
	copy(parts[:], cut)
	return parts, nil
}

func isBase64URL(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '-' || b == '_'
}

// decode returns the JSON in a part, unless its shape is out of bounds.
func decode(name string, part []byte) ([]byte, error) {
	text := make([]byte, base64.RawURLEncoding.DecodedLen(len(part)))
	// Not Strict: the API server, too, ignores the spare bits at the end.
	if _, err := base64.RawURLEncoding.Decode(text, part); err != nil {
		return nil, malformed(name, "not base64url without padding")
	}
	switch {
	case !utf8.Valid(text):
		return nil, malformed(name, "not UTF-8") // RFC 7519, section 7.2
	case tooDeep(text):
		return nil, unusual(name, fmt.Sprintf("nested more than %d deep", maxDepth))
	}
	return text, nil
}

// tooDeep reports whether JSON nests deeper than maxDepth, without parsing it.
func tooDeep(text []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '{' || b == '[':
			depth++
		case b == '}' || b == ']':
			depth--
		}
		if depth > maxDepth {
			return true
		}
	}
	return false
}

// Recognise reports whether a value, of whatever Secret or ConfigMap, holds the
// JWT of a service account: by its subject or by the private claims of
// Kubernetes. Only the payload must be readable, so that a token whose end was
// lost is recognised, and then found wanting by Parse. White space around it is
// ignored. What does not look like a JWT costs no allocation to speak of.
func Recognise(raw []byte) bool {
	if len(raw) > maxSize {
		return false
	}
	raw = bytes.TrimSpace(raw)
	if !bytes.HasPrefix(raw, []byte("e")) { // '{' in base64
		return false
	}
	parts := bytes.SplitN(raw, []byte("."), 4)
	if len(parts) != 3 {
		return false
	}
	payload, err := decode("payload", parts[1])
	if err != nil || !bytes.Contains(payload, []byte("kubernetes.io")) && !bytes.Contains(payload, []byte(subjectPrefix)) {
		return false
	}
	claims, err := parseClaims(payload)
	return err == nil && (claims.Kind != Other || strings.HasPrefix(claims.Subject, subjectPrefix))
}
