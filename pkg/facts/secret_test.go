package facts

import (
	"encoding/base64"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/token"
)

// Who may create Secrets must not make a review dear.
func TestOnlySomeTokensOfASecretAreJudged(t *testing.T) {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	s := &corev1.Secret{Data: map[string][]byte{}}
	for i := range 2_000 {
		payload := fmt.Sprintf(`{"sub":"system:serviceaccount:a:b","kubernetes.io":{"namespace":"a","pod":{"name":"p-%d"}}}`, i)
		s.Data[fmt.Sprintf("k-%04d", i)] = []byte(part(`{"alg":"RS256"}`) + "." + part(payload) + "." + part("x"))
	}
	read := ReadSecret(s, nil, func([]byte) State { return Unknown })
	if len(read.Tokens) != maxTokens+1 {
		t.Fatalf("%d tokens are kept", len(read.Tokens))
	}
	if last := read.Tokens[maxTokens]; last.Broken.Verdict != token.Unknown || last.Broken.Reason != token.Unusual {
		t.Errorf("what is beyond is %+v, want unknown", last)
	}
}
