package app

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"tokenward.dev/tokenward/pkg/tokentext"
)

var testNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

type tokenFixture struct{ legacy, bound, expired, keyFile, jwks string }

func newTokenFixture(t *testing.T) *tokenFixture {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(claims map[string]any) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: ""}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(signer).Claims(claims).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	bound := func(exp time.Time) map[string]any {
		return map[string]any{
			"iss": "https://issuer.test", "aud": []string{"https://issuer.test"}, "sub": "system:serviceaccount:shop:robot",
			"iat": exp.Add(-time.Hour).Unix(), "nbf": exp.Add(-time.Hour).Unix(), "exp": exp.Unix(),
			"kubernetes.io": map[string]any{
				"namespace": "shop", "serviceaccount": map[string]any{"name": "robot", "uid": "1"}, "pod": map[string]any{"name": "cart", "uid": "2"},
			},
		}
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}})
	if err != nil {
		t.Fatal(err)
	}
	return &tokenFixture{
		legacy: sign(map[string]any{
			"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:shop:robot",
			"kubernetes.io/serviceaccount/namespace": "shop", "kubernetes.io/serviceaccount/secret.name": "robot-token",
			"kubernetes.io/serviceaccount/service-account.name": "robot", "kubernetes.io/serviceaccount/service-account.uid": "1",
		}),
		bound: sign(bound(testNow.Add(50 * time.Minute))), expired: sign(bound(testNow.Add(-3 * time.Hour))),
		keyFile: writeCase(t, "sa.pub", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))),
		jwks:    writeCase(t, "jwks.json", string(set)),
	}
}

func (f *tokenFixture) secret() string {
	return "kind: Secret\nmetadata: {name: robot-token, namespace: shop}\ndata: {token: " + base64.StdEncoding.EncodeToString([]byte(f.legacy)) + "}\n"
}

type ran struct {
	status   int
	out, err string
}

// command runs the command line at a fixed time, where there is no cluster.
func command(t *testing.T, stdin string, args ...string) ran {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	var out, errOut bytes.Buffer
	status := run(t.Context(), New(func() time.Time { return testNow }), args, strings.NewReader(stdin), &out, &errOut)
	return ran{status, out.String(), errOut.String()}
}

// unwrapped is what was printed, with the lines of each value put together.
func unwrapped(r ran) string {
	return regexp.MustCompile(`\n {6,}`).ReplaceAllString("\n"+r.out+r.err, " ")
}

func TestInspect(t *testing.T) {
	f := newTokenFixture(t)
	tests := []struct {
		name   string
		stdin  string
		args   []string
		status int
		want   []string // lines of the output, or parts of the error
	}{
		{"a bound token", f.bound, nil, exitClean, []string{
			"Token of      system:serviceaccount:shop:robot", "Kind          bound: it expires, and ends with what it is bound to",
			"Namespace     shop", "Account       robot (uid 1)", "Bound to pod  cart (uid 2)", "Issuer        https://issuer.test",
			"Audiences     https://issuer.test", "Algorithm     ES256", "Issued        10m ago (2026-11-22T11:50:00Z)",
			"Expires       in 50m (2026-11-22T12:50:00Z)",
		}},
		{"an expired token", f.expired, nil, exitClean, []string{"Expired       3h ago (2026-11-22T09:00:00Z)"}},
		{"a Secret", f.secret(), []string{"-"}, exitClean, []string{
			"Found in   Secret shop/robot-token, key token", "Undone     base64 decoded", "Kind       legacy: it lives in a Secret, and ends with it",
			"In Secret  robot-token", "Expires    never",
		}},
		{"an argument in pieces, as a shell makes of it", "", []string{"Bearer", f.bound[:40], f.bound[40:]}, exitClean, []string{"Token of      system:serviceaccount:shop:robot"}},
		{"a file", "", []string{"-f", writeCase(t, "token", f.bound+"\n")}, exitClean, []string{"Token of      system:serviceaccount:shop:robot"}},
		{"a damaged token", f.bound[:len(f.bound)-1], nil, exitFindings, []string{
			"Damage        signature: 85 characters, where ES256 has 86: 1 missing", "Token of      system:serviceaccount:shop:robot",
			"Note          No API server takes a damaged token. Copy it again, or get a new one.",
		}},
		{"an empty input", "", nil, exitFailed, []string{"error: this is nothing, not a token: the input is empty"}},
		{"a file that is not there", "", []string{"-f", "/nonexistent"}, exitFailed, []string{"error: --filename: open /nonexistent"}},
		{"a file and an argument", "", []string{"-f", "x", "y"}, exitFailed, []string{"error: --filename: takes the place of the argument"}},
		{"the name of a file", "", []string{f.keyFile}, exitFailed, []string{"error: the argument is the name of a file: use -f"}},
		{"a format that there is not", f.bound, []string{"-o", "xml"}, exitFailed, []string{`error: --output: "xml" is none of table, json, yaml`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := command(t, tt.stdin, append([]string{"token", "inspect"}, tt.args...)...)
			if r.status != tt.status {
				t.Errorf("exit status %d, want %d: %s", r.status, tt.status, r.err)
			}
			for _, want := range tt.want {
				if !strings.Contains(unwrapped(r), "\n"+want) {
					t.Errorf("no line %q in\n%s%s", want, r.out, r.err)
				}
			}
		})
	}
}

func TestVerifyOffline(t *testing.T) {
	f := newTokenFixture(t)
	other := newTokenFixture(t)
	tests := []struct {
		name   string
		stdin  string
		args   []string
		status int
		want   []string
	}{
		{"a good signature and no cluster", f.bound, []string{"--key-file", f.keyFile, "--issuer", "https://issuer.test"}, exitFindings, []string{
			"Keys of    the files that were given", "Signature  ok, fits", "Issuer     ok, accepted", "Audience   ok, meant for it",
			"Times      ok, expires in 50m (2026-11-22T12:50:00Z)", "Account    ?, not looked at", "Pod        ?, not looked at",
			"Verdict    unknown: what it names was not looked at: no cluster was asked",
		}},
		{"no issuer", f.bound, []string{"--key-file", f.keyFile}, exitFindings, []string{
			"Signature  ok, fits", "Issuer     ?, not looked at: give --issuer", "Audience   ?, not looked at: give --issuer or --audience",
		}},
		{"one key of several", f.bound, []string{"--key-file", other.keyFile, "--key-file", f.keyFile}, exitFindings, []string{"Signature  ok, fits"}},
		{"a JWKS", f.legacy, []string{"--jwks", f.jwks}, exitFindings, []string{"Signature  ok, fits", "Secret     ?, not looked at"}},
		{"no key that fits", f.bound, []string{"--key-file", other.keyFile}, exitFindings, []string{"Verdict    invalid: its signature fits no key"}},
		{"another issuer", f.bound, []string{"--key-file", f.keyFile, "--issuer", "https://other"}, exitFindings, []string{
			"Signature  ok, fits", "Verdict    unknown: its issuer is not one of those that are known",
		}},
		{"another audience", f.bound, []string{"--key-file", f.keyFile, "--audience", "vault"}, exitFindings, []string{
			"Audience   ?, it is meant for another audience",
		}},
		{"an expired token", f.expired, []string{"--key-file", f.keyFile}, exitFindings, []string{"Times      WRONG, it has expired", "Verdict    invalid: it has expired", "Cure       Read the file again"}},
		{"a damaged token", f.bound[:len(f.bound)-1], []string{"--key-file", f.keyFile}, exitFindings, []string{
			"Verdict       invalid: it was damaged: signature: 85 characters",
		}},
		{"a key file that holds none", f.bound, []string{"--key-file", writeCase(t, "x.pub", "nothing")}, exitFailed, []string{"error: --key-file: "}},
		{"--live without a cluster", f.bound, []string{"--key-file", f.keyFile, "--live"}, exitFailed, []string{"error: --live: asks the API server"}},
		{"a negative time", f.bound, []string{"--signing-key-settle=-1s"}, exitFailed, []string{"error: --signing-key-settle: is negative"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := command(t, tt.stdin, append([]string{"token", "verify"}, tt.args...)...)
			if r.status != tt.status {
				t.Errorf("exit status %d, want %d: %s", r.status, tt.status, r.err)
			}
			for _, want := range tt.want {
				if !strings.Contains(unwrapped(r), "\n"+want) {
					t.Errorf("no line %q in\n%s%s", want, r.out, r.err)
				}
			}
		})
	}
}

// Whatever is wrong, and wherever it was put, no part of a token is repeated
// but what its claims say.
func TestNoPartOfATokenIsRepeated(t *testing.T) {
	f := newTokenFixture(t)
	parts := strings.Split(f.bound, ".")
	inputs := []string{f.bound, "Bearer " + f.bound, f.bound[:len(f.bound)-1], f.bound[3:], f.bound + f.bound, parts[0] + "." + parts[1], strings.Join(parts, ""), base64.StdEncoding.EncodeToString([]byte(f.bound))[:300]}
	commands := [][]string{
		{"token", "inspect"}, {"token", "inspect", "-o", "json"}, {"token", "verify", "--key-file", f.keyFile}, {"token", "verify", "--jwks", f.keyFile}, {"token"}, {},
		{"token", "inspect", "-o"}, {"token", "inspect", "-f"}, {"token", "verify", f.bound, "--jwks"},
		{"check"}, {"check", "-f"}, {"doctor"}, {"doctor", "--token-file"}, {"doctor", "--ca-file"}, {"version"}, {"audit"}, {"explain"}, {"test"},
		{"token", "verify", f.bound, "--live", "--kubeconfig"}, {"token", "inspect", "--token"},
	}
	for _, c := range commands {
		for _, input := range inputs {
			for _, r := range []ran{command(t, input, c...), command(t, "", append(c, input)...), command(t, "", append(c, "--"+input)...)} {
				for i := 0; i+16 <= len(input); i += 8 {
					if strings.Contains(r.out+r.err, input[i:i+16]) {
						t.Fatalf("%q repeats its input: %s%s", c, r.out, r.err)
					}
				}
			}
		}
	}
}

// S4: what is told of a token is for people and machines alike.
func TestInspectForMachines(t *testing.T) {
	f := newTokenFixture(t)
	r := command(t, f.secret(), "token", "inspect", "-o", "json")
	var list struct {
		Tokens []struct {
			Where, Kind, Subject, Namespace string
			Undone                          []string
			ServiceAccount, Secret          struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list.Tokens) != 1 {
		t.Fatalf("%v: %s", err, r.out)
	}
	got := list.Tokens[0]
	if got.Kind != "legacy" || got.Subject != "system:serviceaccount:shop:robot" || got.Secret.Name != "robot-token" || got.ServiceAccount.Name != "robot" || len(got.Undone) != 1 {
		t.Errorf("%+v", got)
	}
	if r := command(t, f.secret(), "token", "inspect", "-o", "yaml"); !strings.Contains(r.out, "kind: legacy\n") {
		t.Error(r.out)
	}
}

// Claims are anybody's: they can't write to the terminal as they like.
func TestClaimsCannotControlTheTerminal(t *testing.T) {
	payload := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"\u001b[2Jevil\nVerdict    valid","sub":"x"}`))
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"\u001b]0;x\u0007"}`))
	r := command(t, header+"."+payload+".c2ln", "token", "inspect")
	if strings.ContainsAny(r.out, "\x1b\x07") || strings.Contains(r.out, "\nVerdict") {
		t.Errorf("%q", r.out)
	}
}

// The input of everything is bounded.
func TestTooLongInput(t *testing.T) {
	r := command(t, strings.Repeat("x", tokentext.MaxSize+10), "token", "inspect")
	if r.status != exitFailed || !strings.Contains(r.err, "more than") {
		t.Errorf("%+v", r)
	}
}
