package harness

import (
	"context"
	"strings"
	"testing"
	"time"

	"tokenward.dev/tokenward/test/cluster"
)

// Patience is how long tests wait for what should take a moment.
const Patience = 60 * time.Second

// WaitUntil polls until a condition holds.
func WaitUntil(t *testing.T, condition func() error) {
	t.Helper()
	if err := cluster.Eventually(t.Context(), Patience, func(context.Context) error { return condition() }); err != nil {
		t.Fatal(err)
	}
}

// MustContain fails the test for every part that a text does not have.
func MustContain(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("want %q in: %s", p, text)
		}
	}
}
