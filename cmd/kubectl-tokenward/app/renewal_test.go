package app

import (
	"strings"
	"testing"
	"time"

	"tokenward.dev/tokenward/pkg/token"
)

func TestTheCureForThePodOfATokenWhoseKeyIsGone(t *testing.T) {
	life := func(issued, warn, expires time.Duration) *token.Claims {
		c := &token.Claims{Kind: token.Bound, Pod: &token.Ref{Name: "cart"}, IssuedAt: testNow.Add(issued), Expires: testNow.Add(expires)}
		if warn != 0 {
			c.WarnAfter = testNow.Add(warn)
		}
		return c
	}
	const hour, year = 3607 * time.Second, 365 * 24 * time.Hour
	tests := []struct {
		name   string
		claims *token.Claims
		want   string
	}{
		{"a token of an hour", life(0, 0, hour), "four fifths of the token's life: in 48"},
		{"a token of an hour that the API server accepts for a year", life(0, hour, year), "(2026-11-22T12:48:05Z). "},
		{"a token of ten minutes", life(-4*time.Minute, 0, 6*time.Minute), "(2026-11-22T12:04:00Z). "},
		{"a token of a week", life(0, 0, 7*24*time.Hour), "(2026-11-23T12:00:00Z). "},
		{"a copy that is older than the file", life(-50*time.Minute, 0, 10*time.Minute), "has renewed the file 2"},
		{"a token without times", &token.Claims{Kind: token.Bound, Pod: &token.Ref{Name: "cart"}}, "at once"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, why := range []token.Reason{token.KeyGone, token.KeyUnsettled} {
				cure := cureOf(why, tt.claims, testNow)
				for _, want := range []string{tt.want, "kubectl rollout restart", "a restart of the kubelet"} {
					if !strings.Contains(cure, want) {
						t.Errorf("no %q in: %s", want, cure)
					}
				}
			}
		})
	}
}
