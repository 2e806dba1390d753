package manifest

import (
	"os"
	"strings"
	"testing"
)

func TestEveryProviderIsInTheDocs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/check.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range providers() {
		found := false
		for line := range strings.Lines(string(text)) {
			found = found || (strings.HasPrefix(line, "|") && strings.Contains(line, "`"+p.kind+"`") && strings.Contains(line, "`"+p.group+"`"))
		}
		if !found {
			t.Errorf("docs/check.md has no row for %s (%s)", p.kind, p.group)
		}
	}
}
