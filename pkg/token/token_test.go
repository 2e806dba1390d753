package token

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func TestParseReadsALegacyToken(t *testing.T) {
	raw := usual(t, legacyPayload())
	token := parse(t, raw)
	want := Claims{
		Kind: Legacy, Issuer: LegacyIssuer, Subject: "system:serviceaccount:shop:runner", Namespace: "shop",
		ServiceAccount: Ref{"runner", "uid-of-runner"}, Secret: &Ref{Name: "runner-token"},
	}
	if !reflect.DeepEqual(token.Claims, want) {
		t.Errorf("got %+v, want %+v", token.Claims, want)
	}
	if token.Algorithm != "RS256" || token.KeyID != public(t, rsaKey()).ID || token.Hash() != sha256.Sum256([]byte(raw)) {
		t.Errorf("algorithm %q, key id %q or the hash is wrong", token.Algorithm, token.KeyID)
	}
	if parse(t, raw+"\n").Hash() != token.Hash() {
		t.Error("the line break counts")
	}
}

func TestParseReadsABoundToken(t *testing.T) {
	p := boundTo(object{"secret": object{"name": "s", "uid": "uid-of-s"}, "validatingwebhookconfiguration": object{"name": "w"}})
	p["aud"] = "one" // a string, or a list
	at := func(seconds int64) time.Time { return time.Unix(now.Unix()+seconds, 0) }
	want := Claims{
		Kind: Bound, Issuer: issuer, Subject: "system:serviceaccount:shop:runner", ID: "id-of-token", Audiences: []string{"one"},
		Namespace: "shop", ServiceAccount: Ref{"runner", "uid-of-runner"},
		Secret: &Ref{"s", "uid-of-s"}, Pod: &Ref{"cart", "uid-of-cart"}, Node: &Ref{"node-1", "uid-of-node-1"}, Webhook: true,
		Expires: at(3000), NotBefore: at(-600), IssuedAt: at(-600), WarnAfter: at(2000),
	}
	if got := parse(t, usual(t, p)).Claims; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseTakesTokensOfOthers(t *testing.T) {
	token := parse(t, usual(t, object{"iss": "https://accounts", "sub": "somebody"}))
	if token.Claims.Kind != Other || token.Claims.Issuer != "https://accounts" {
		t.Errorf("got %+v", token.Claims)
	}
	for kind, want := range map[Kind]string{Other: "other", Legacy: "legacy", Bound: "bound"} {
		if kind.String() != want {
			t.Errorf("%d is %q, want %q", kind, kind, want)
		}
	}
}

func TestBracketsWithinStringsDoNotNest(t *testing.T) {
	name := strings.Repeat("[", 100) + `"` + strings.Repeat("{", 100) + `\`
	if got := parse(t, usual(t, object{"sub": name})).Claims.Subject; got != name {
		t.Errorf("got %q", got)
	}
}

const head = `{"alg":"RS256","kid":"k"}`

// refused are values that are no tokens, or that nobody should spend time on.
func refused() []struct{ name, raw, want string } {
	text := func(header, payload string) string {
		return encode([]byte(header)) + "." + encode([]byte(payload)) + ".c2ln"
	}
	const (
		parts     = "token: not three parts separated by dots"
		alphabet  = "a character that is not of base64url without padding"
		badHeader = "header: not a JSON object with alg and kid as strings, each name once"
		badClaims = "payload: not a JSON object with the claims of RFC 7519, each name once"
	)
	return []struct{ name, raw, want string }{
		{"nothing", "", parts},
		{"white space", " \n\t", parts},
		{"a word", "secret", parts},
		{"two parts", "a.b", parts},
		{"ten thousand parts", strings.Repeat("YQ.", 9999) + "YQ", parts},
		{"an encrypted token", "a.b.c.d.e", parts},
		{"the JSON serialisation", `{"payload":"e30","signatures":[]}`, parts},
		{"a megabyte of something", strings.Repeat("a", 1<<20), parts},
		{"a megabyte of dots", strings.Repeat(".", 1<<20), parts},
		{"padding", "e30=.e30.c2ln", "header: " + alphabet},
		{"the other base64", "e30.e3+/.c2ln", "payload: " + alphabet},
		{"a line break within", "e30.e3\n0.c2ln", "payload: " + alphabet},
		{"not ASCII", "e30.e30.c2\xff", "signature: " + alphabet},
		{"a header that is cut off", "e3012.e30.c2ln", "header: cut off"},
		{"a header that is empty", ".e30.c2ln", badHeader},
		{"a header that is no JSON", text("hello", "{}"), badHeader},
		{"a header that is a list", text("[]", "{}"), badHeader},
		{"a header with a number for an algorithm", text(`{"alg":1}`, "{}"), badHeader},
		{"a header with two algorithms", text(`{"alg":"RS256","alg":"none"}`, "{}"), badHeader},
		{"a payload that is empty", text(head, ""), badClaims},
		{"a payload that ends early", text(head, `{"iss":"x"`), badClaims},
		{"a payload with something after it", text(head, `{"iss":"x"}{}`), badClaims},
		{"a payload with two issuers", text(head, `{"iss":"x","iss":"y"}`), badClaims},
		{"a payload with a number for an issuer", text(head, `{"iss":1}`), badClaims},
		{"a payload with a word for a time", text(head, `{"exp":"soon"}`), badClaims},
		{"a payload with an object for an audience", text(head, `{"aud":{}}`), badClaims},
		{"a payload that is not UTF-8", text(head, "{\"a\":\"\xff\"}"), "payload: not UTF-8"},
		{"no signature", strings.TrimSuffix(text(head, "{}"), "c2ln"), "signature: empty"},

		{"a megabyte that could be a token", text(head, strings.Repeat(" ", 1<<20)), "token: longer than 16384 bytes"},
		{"one byte too many", text(head, "{}") + strings.Repeat("a", maxSize-len(text(head, "{}"))+1), "token: longer than 16384 bytes"},
		{"a payload that is nested", text(head, strings.Repeat(`{"a":`, 1000)), "payload: nested more than 16 deep"},
		{"a header that is nested", text(strings.Repeat("[", 1000), "{}"), "header: nested more than 16 deep"},
		{"a certificate in the header", text(`{"alg":"RS256","x5c":["MA"]}`, "{}"), "header: has what no token of Kubernetes has"},
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range refused() {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.raw))
			var parseError *ParseError
			if !errors.As(err, &parseError) || err.Error() != c.want {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			want := Result{Invalid, Malformed}
			for _, tooMuch := range []string{"longer than", "nested", "has what"} {
				if strings.Contains(c.want, tooMuch) {
					want = Result{Unknown, Unusual}
				}
			}
			if got := parseError.Result(); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// Sizes are bounded before anything is decoded: what is refused for its size or
// shape costs a handful of allocations, none of them for what is in it.
func TestRefusingIsCheap(t *testing.T) {
	for _, c := range refused() {
		if len(c.raw) < 1<<20 {
			continue
		}
		raw := []byte(c.raw)
		if n := testing.AllocsPerRun(10, func() { _, _ = Parse(raw); Recognise(raw) }); n > 12 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
	value := []byte("e" + strings.Repeat("x.y", 100))
	if n := testing.AllocsPerRun(10, func() { Recognise(value) }); n > 1 {
		t.Errorf("a value that is no token: %v allocations", n)
	}
}

func TestTokensPrintNoPartOfThemselves(t *testing.T) {
	raw := usual(t, boundPayload())
	token := parse(t, raw)
	keys := NewKeySet(KeySetOptions{Keys: []Key{public(t, rsaKey())}, Issuers: []string{issuer}})
	signature := token.signed.Signatures[0].Signature
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{token, *token, []*Token{token}, struct{ T *Token }{token}, Check(token, keys)} {
			text := fmt.Sprintf(verb, value)
			for _, secret := range append(strings.Split(raw, "."), fmt.Sprintf("%d", signature)[1:40], fmt.Sprintf("%x", signature)[:40], string(signature)) {
				if strings.Contains(text, secret) {
					t.Errorf("%s of %T prints a part of the token", verb, value)
				}
			}
		}
	}
	if got, want := fmt.Sprint(token), `bound token of "system:serviceaccount:shop:runner"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRecognise(t *testing.T) {
	legacy, bound := usual(t, legacyPayload()), usual(t, boundPayload())
	for _, c := range []struct {
		name, raw string
		want      bool
	}{
		{"a legacy token", legacy, true},
		{"a bound token", bound, true},
		{"a token with a line break", legacy + "\n", true},
		{"a token whose end is lost", legacy[:len(legacy)-100], true},
		{"a token whose signature is garbled", legacy[:len(legacy)-100] + "!", true},
		{"a token of another issuer with a subject of ours", usual(t, object{"iss": "https://other", "sub": "system:serviceaccount:a:b"}), true},
		{"a token that is signed otherwise", sign(t, jose.HS256, make([]byte, 32), "", boundPayload()), true},
		{"a token of another kind", usual(t, object{"iss": "https://other", "sub": "somebody"}), false},
		{"a token that mentions kubernetes.io", usual(t, object{"iss": "https://other", "aud": "kubernetes.io"}), false},
		{"a token whose payload is lost", legacy[:150], false},
		{"two tokens", legacy + "\n" + bound, false},
		{"a kubeconfig", "apiVersion: v1\nkind: Config\nusers: [{user: {token: " + legacy + "}}]", false},
		{"a password", "e.x.y", false},
		{"nothing", "", false},
		{"too much", legacy + strings.Repeat(" ", maxSize), false},
	} {
		if got := Recognise([]byte(c.raw)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	raw := []byte(usual(b, legacyPayload()))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = Parse(raw)
	}
}

// A value of 16 KiB that is nearly a token is the worst that Recognise can meet.
func BenchmarkRecogniseTheWorst(b *testing.B) {
	raw := []byte("eyJ9." + encode([]byte(`{"kubernetes.io":[`+strings.Repeat(`{"a":1},`, 1500)+`1]`)) + ".")
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		Recognise(raw)
	}
}
