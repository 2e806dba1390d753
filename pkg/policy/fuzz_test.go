package policy

import (
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("---\n" + full + "---\n" + strings.Replace(full, "payments", "b", 1)))
	f.Add([]byte(`{"apiVersion":"tokenward.dev/v1alpha1","kind":"TokenPolicy","metadata":{"name":"p"},"spec":{"checks":[{"name":"secret-exist"}]}}`))
	f.Add([]byte("a: &a [x]\nb: *a\n"))
	checks := Checks()
	compiler := NewCompiler(checks)
	f.Fuzz(func(t *testing.T, data []byte) {
		policies, err := compiler.Parse("f.yaml", data)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" || !strings.Contains(err.Error(), "f.yaml:") {
				t.Errorf("an error that does not name the file: %q", err)
			}
			return
		}
		NewSnapshot(checks, policies, Options{})
	})
}
