package tokentext

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tokenward.dev/tokenward/pkg/token"
)

func testRandom() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// S4: whatever is around a token, it comes back unchanged.
func TestEveryWrappingGivesTheTokenBack(t *testing.T) {
	for _, w := range wrappings() {
		t.Run(w.name, func(t *testing.T) {
			random := testRandom()
			for _, s := range shapes() {
				for range 5 {
					text := s.make(random)
					found, err := Read([]byte(w.wrap(text)))
					if err != nil {
						t.Fatalf("%s: %v", s.name, err)
					}
					if len(found) != 1 || found[0].Damage != nil || found[0].Raw() != text || found[0].Token == nil {
						t.Fatalf("%s: %d tokens, damage %v", s.name, len(found), found[0].Damage)
					}
					if w.undone != nil && !slices.Equal(found[0].Undone, w.undone) && w.name != "with typographic hyphens" {
						t.Fatalf("%s: undone %q, want %q", s.name, found[0].Undone, w.undone)
					}
					if found[0].Where != w.where {
						t.Errorf("%s: where %q, want %q", s.name, found[0].Where, w.where)
					}
				}
			}
		})
	}
}

// S4: one character lost is named, and in the right part.
func TestEveryLostCharacterIsNamed(t *testing.T) {
	random := testRandom()
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			text := s.make(random)
			first, second := strings.IndexByte(text, '.'), strings.LastIndexByte(text, '.')
			for i := range text {
				want := Signature
				switch {
				case i == first || i == second:
					want = Dot
				case i < first:
					want = Header
				case i < second:
					want = Payload
				}
				found, err := Read([]byte(text[:i] + text[i+1:]))
				if err != nil {
					t.Fatalf("character %d: %v", i, err)
				}
				if len(found) != 1 || found[0].Damage == nil || found[0].Damage.Part != want {
					t.Fatalf("character %d, in the %s: %v", i, want, found[0].Damage)
				}
				// Who it is of stands in the payload.
				if known := found[0].Claims != nil && found[0].Claims.Subject != ""; known != (want != Payload) && i != first {
					t.Fatalf("character %d, in the %s: claims known: %t", i, want, known)
				}
				if d := found[0].Damage; want == Payload && d.Near > 0 && (d.Near < i-first-12 || d.Near > i-first+12) {
					t.Fatalf("character %d of the payload: %v", i-first, d)
				}
			}
		})
	}
}

// A character lost of the base64 around a token: all after it is noise.
func TestEveryCharacterLostOfBase64IsNamed(t *testing.T) {
	random := testRandom()
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			text := s.make(random)
			first, second := strings.IndexByte(text, '.')*4/3, strings.LastIndexByte(text, '.')*4/3
			encoded := strings.TrimRight(std(text), "=")
			for i := shortest * 2; i < len(encoded); i++ {
				want := Signature
				switch {
				case i < first:
					want = Header
				case i < second:
					want = Payload
				}
				found, err := Read([]byte(encoded[:i] + encoded[i+1:]))
				if err != nil {
					t.Fatalf("character %d of %d: %v", i, len(encoded), err)
				}
				near := max(first-i, i-first) < 12 || max(second-i, i-second) < 12 // the dots
				if d := found[0].Damage; d == nil || d.Part != want && !near {
					t.Fatalf("character %d of %d, in the %s: %v", i, len(encoded), want, d)
				}
			}
		})
	}
}

// Wherever the end is cut off, it is named; only of an RSA signature a rest may
// be as long as that of a shorter key.
func TestEveryCutEndIsNamed(t *testing.T) {
	random := testRandom()
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			text := s.make(random)
			first, second := strings.IndexByte(text, '.'), strings.LastIndexByte(text, '.')
			for end := shortest; end < len(text); end++ {
				found, err := Read([]byte(text[:end]))
				if err != nil {
					t.Fatalf("cut at %d: %v", end, err)
				}
				want := []Part{Signature}
				switch {
				case end <= first:
					want = []Part{Header}
				case end <= second:
					want = []Part{Payload}
				}
				if end == first || end == first+1 { // a whole header alone
					want = []Part{Payload}
				}
				if end == second || end == second+1 {
					want = []Part{Signature}
				}
				d := found[0].Damage
				shorter := strings.HasPrefix(s.algorithm, "RS") && end > second && signatureLength(s.algorithm, text[second+1:end]) == nil
				if !shorter && (d == nil || !slices.Contains(want, d.Part)) {
					t.Fatalf("cut at %d of %d.%d.%d: %v", end, first, second, len(text), d)
				}
			}
		})
	}
}

func TestDamageIsNamed(t *testing.T) {
	random := testRandom()
	text := shapes()[0].make(random)
	other := shapes()[2].make(random)
	es := shapes()[4].make(random)
	parts := strings.Split(text, ".")
	end := len(text)
	tests := []struct {
		name, text, want string
	}{
		{"two tokens in one", text + other, "token: two tokens in one, with nothing between them"},
		{"two EC tokens in one", es + es, "token: two tokens in one, with nothing between them"},
		{"two tokens in one by a dot", text + "." + other, "token: two tokens in one, with nothing between them"},
		{"a token and the beginning of another", text + other[:60], "signature: 402 characters, which is the length of no RSA signature: cut off, or characters are missing"},
		{"shortened with dots", text[:40] + "..." + text[end-40:], "token: shortened for display (...): the middle is missing"},
		{"shortened with an ellipsis", text[:len(parts[0])+30] + "…" + text[end-40:], "payload: shortened for display (...): the middle is missing, near its character 30"},
		{"a dash of a word processor", text[:end-20] + "—" + text[end-18:], "signature: a dash that a word processor put in place of one hyphen or two, near its character 323"},
		{"a shell prompt that sticks to it", text + "root@node:~#", "signature: other text follows it, as when a shell prompt sticks to it, near its character 347"},
		{"a character that no token has", parts[0] + "." + parts[1][:10] + "!" + parts[1][11:] + "." + parts[2], "payload: a character that no token has, near its character 11"},
		{"no signature", parts[0] + "." + parts[1], "signature: missing: the end was cut off"},
		{"no signature but its dot", parts[0] + "." + parts[1] + ".", "signature: missing: the end was cut off"},
		{"the header alone", parts[0], "payload: missing: the end was cut off"},
		{"the payload alone", parts[1], "token: this is a payload alone, without header and signature"},
		{"payload and signature", parts[1] + "." + parts[2], "header: missing: the beginning was cut off"},
		{"an empty header", "." + parts[1] + "." + parts[2], "header: missing: the beginning was cut off"},
		{"the first characters lost", text[2:], "header: its first characters are missing or were changed"},
		{"no dots", strings.Join(parts, ""), "both dots are missing"},
		{"cut within the payload", text[:len(parts[0])+30], "payload: cut off, near its character 29"},
		{"cut within the signature", text[:end-100], "signature: 242 characters, which is the length of no RSA signature: cut off, or characters are missing"},
		{"one character of the signature lost", text[:end-1], "signature: 341 characters, where RSA of 2048 bits has 342: 1 missing"},
		{"one character of an EC signature lost", es[:len(es)-1], "signature: 85 characters, where ES256 has 86: 1 missing"},
		{"one character of an EC signature too many", es + "A", "signature: 87 characters, where ES256 has 86: too many"},
		{"in a Secret", secretYAML("data", std(text[:end-1])), "signature: 341 characters, where RSA of 2048 bits has 342: 1 missing"},
		{"in the output of kubectl describe", describe("robot", text[:end-1]), "signature: 341 characters, where RSA of 2048 bits has 342: 1 missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found, err := Read([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != 1 || found[0].Damage == nil || found[0].Damage.String() != tt.want {
				t.Errorf("%d tokens, damage %q, want %q", len(found), found[0].Damage, tt.want)
			}
		})
	}
}

func TestWhatIsNoTokenIsNamed(t *testing.T) {
	text := shapes()[0].make(testRandom())
	certificate := "-----BEGIN CERTIFICATE-----\nMIIBdjCCAR2gAwIBAgIBADAK\n-----END CERTIFICATE-----\n"
	users := func(user string) string {
		return "apiVersion: v1\nkind: Config\nusers:\n- name: a\n  user: " + user + "\n"
	}
	tests := []struct{ name, text, want string }{
		{"nothing", " \n", "nothing, not a token"},
		{"a certificate", certificate, "a certificate, not a token: the token is beside ca.crt"},
		{"a certificate in base64", std(certificate), "a certificate"},
		{"a private key", "-----BEGIN RSA PRIVATE KEY-----\nMIIBdjCC\n", "a private key, not a token: whoever has it can sign"},
		{"a public key", "-----BEGIN PUBLIC KEY-----\nMIIBdjCC\n", "a public key, not a token: token verify takes it by --key-file"},
		{"a JWKS", `{"keys":[{"kty":"RSA"}]}`, "a set of public keys (JWKS)"},
		{"a bootstrap token", "07401b.f395accd246ae52d", "a bootstrap token"},
		{"an opaque token", "sha256~3vqBGbJ1MgXOqZhb9tfWd8bHl2uBo1xMnqmTjUyyU8w", "an OAuth token of OpenShift, not a token: oc whoami -t"},
		{"a password", "correcthorsebatterystaple", "an opaque token or a password"},
		{"prose", "I have no token, what shall I do?", "text without a token in it"},
		{"a kubeconfig with a certificate", users("{client-certificate-data: YQ==}"), "a kubeconfig without a token, not a token: its user has a client certificate"},
		{"a kubeconfig with a program", users("{exec: {command: aws}}"), "a kubeconfig without a token, not a token: its user gets tokens from a program (exec)"},
		{"a kubeconfig with a token file", users("{tokenFile: /x}"), "its user has a tokenFile: give that file"},
		{"a kubeconfig as kubectl shows it", users("{token: REDACTED}"), "kubectl config view --raw"},
		{"a hidden token", "REDACTED", "a place where a token was hidden"},
		{"a ServiceAccount", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n", "a ServiceAccount, not a token: kubectl create token NAME"},
		{"a Pod", "apiVersion: v1\nkind: Pod\n", "a Kubernetes object that holds no token"},
		{"a token Secret that is not filled", "kind: Secret\ntype: kubernetes.io/service-account-token\n", "a token Secret without a token"},
		{"a Secret with other things", "kind: Secret\ndata: {password: c2VjcmV0}\n", "a Secret that holds no token"},
		{"a description with sizes alone", describe("robot", "900 bytes"), "a description that shows sizes alone"},
		{"a payload, decoded", `{"iss":"kubernetes/serviceaccount"}`, "the payload of a token, decoded"},
		{"a header, decoded", `{"alg":"RS256"}`, "the header of a token, decoded"},
		{"an empty list", `{"kind":"List","items":[]}`, "an empty list"},
		{"base64 without end", strings.Repeat("VmxSQ2FGWXhTWGRO", 1000), "an opaque token or a password"},
		{"too much", strings.Repeat(" ", MaxSize) + text, "more than 8388608 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read([]byte(tt.text))
			var not *NotToken
			if !errors.As(err, &not) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

func TestSeveralTokens(t *testing.T) {
	random := testRandom()
	a, b := shapes()[0].make(random), shapes()[2].make(random)
	tests := []struct {
		name, text string
		where      []string
	}{
		{"on lines of their own", a + "\n" + b + "\n", []string{"token 1 of 2", "token 2 of 2"}},
		{"in a List of Secrets", `{"kind":"List","items":[` + secretJSON("a", std(a)) + "," + secretJSON("b", std(b)) + `]}`,
			[]string{"Secret shop/a, key token", "Secret shop/b, key token"}},
		{"in several documents", secretYAML("data", std(a)) + "---\n" + secretYAML("data", std(b)),
			[]string{"Secret shop/robot, key token", "Secret shop/robot, key token"}},
		{"in the output of kubectl describe", describe("a", a) + "\n\n" + describe("b", b), []string{"Secret shop/a, key token", "Secret shop/b, key token"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found, err := Read([]byte(tt.text))
			if err != nil || len(found) != 2 {
				t.Fatalf("%d tokens, %v", len(found), err)
			}
			for i, want := range []string{a, b} {
				if found[i].Raw() != want || found[i].Where != tt.where[i] {
					t.Errorf("token %d: where %q, as it was: %t", i, found[i].Where, found[i].Raw() == want)
				}
			}
		})
	}
}

// A token that no service account has is still one.
func TestOtherJWT(t *testing.T) {
	text := part(map[string]any{"alg": "HS256"}) + "." + part(map[string]any{"sub": "me"}) + ".c2lnbmF0dXJl"
	found, err := Read([]byte(text))
	if err != nil || found[0].Token == nil || found[0].Claims.Kind != token.Other || found[0].Damage != nil {
		t.Errorf("%v %v", found, err)
	}
}
