package tokentext

import (
	"bytes"
	"errors"
	"regexp"
	"testing"

	"tokenward.dev/tokenward/pkg/token"
)

// Whatever is pasted, what is told of it comes from a closed set, so that no
// part of a token can be in it; and a token as it is comes back as it is.
func FuzzRead(f *testing.F) {
	random := testRandom()
	for _, w := range wrappings() {
		f.Add([]byte(w.wrap(shapes()[0].make(random))))
	}
	text := shapes()[2].make(random)
	for _, i := range []int{3, 40, 200, len(text) - 2} {
		f.Add([]byte(text[:i]))
		f.Add([]byte(text[:i] + text[i+1:]))
	}
	f.Add([]byte("07401b.f395accd246ae52d"))
	f.Add([]byte(text + text))
	f.Fuzz(func(t *testing.T, input []byte) {
		found, err := Read(input)
		var not *NotToken
		if err != nil && !errors.As(err, &not) || (err == nil) == (len(found) == 0) {
			t.Fatalf("%d tokens, %v", len(found), err)
		}
		if err != nil && !told.MatchString(not.What) {
			t.Errorf("outside the closed set: %s", not.What)
		}
		for i := range found {
			f := &found[i]
			if f.Damage == nil && f.Token == nil {
				t.Error("neither a token nor damage")
			}
			if f.Damage != nil && !damages.MatchString(f.Damage.Problem) {
				t.Errorf("outside the closed set: %s", f.Damage.Problem)
			}
			if f.Where != "" && !places.MatchString(f.Where) {
				t.Errorf("outside the closed set: %s", f.Where)
			}
			if _, err := token.Parse([]byte(f.Raw())); f.Token != nil && err != nil {
				t.Error("what is found is no token")
			}
		}
		if _, err := token.Parse(input); err == nil && (len(found) != 1 || found[0].Raw() != string(bytes.TrimSpace(input))) {
			t.Error("a token as it is does not come back")
		}
	})
}

var (
	damages = regexp.MustCompile(`^([a-z ,:;().-]+|payload: not a JSON object[A-Za-z0-9 ,]+|header: [A-Za-z ,]+|token: longer than \d+ bytes|this is a payload alone, without header and signature|a character of the base64 around it is missing or was changed|\d+ characters, where (RSA of \d+ bits|ES\d+) has \d+: (\d+ missing|too many)|\d+ characters, which is the length of no RSA signature: cut off, or characters are missing)$`)
	told    = regexp.MustCompile(`^[A-Za-z0-9 .,()'-]+$`)
	places  = regexp.MustCompile(`^(Secret (without a name|[a-z0-9./-]+)(, key [-._a-zA-Z0-9]+)?|kubeconfig, users\[\d+\]\.user\.token|(TokenRequest|ExecCredential), status\.token|TokenReview, spec\.token|field (token|access_token|id_token)|token \d+ of \d+)$`)
)
