package harness

import (
	"context"
	"strings"
	"testing"
	"time"

	"tokenward.dev/tokenward/test/cluster"
)

func MustContain(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("want %q in: %s", p, text)
		}
	}
}

func WaitUntil(t *testing.T, condition func() error) {
	t.Helper()
	if err := cluster.Eventually(t.Context(), Patience, func(context.Context) error { return condition() }); err != nil {
		t.Fatal(err)
	}
}

const Patience = 20 * time.Second
