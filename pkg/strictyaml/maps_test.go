package strictyaml

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestManyFieldsTakeNoLongTime(t *testing.T) {
	var many strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&many, "a%d: 1\n", i)
	}
	tests := []struct{ name, text, want string }{
		{"a field twice", "b: 1\na: 1\na: 2\n", `f.yaml:3: document 1: mapping key "a" already defined at line 2`},
		{"a field 50,000 times", strings.Repeat("a: 1\n", maxFields), `f.yaml:2: document 1: mapping key "a" already defined at line 1`},
		{"in a map within a list", "a:\n- b: 1\n  b: 2\n", `f.yaml:3: document 1: mapping key "b" already defined at line 2`},
		{"more fields than anybody has", many.String(), `f.yaml:1: document 1: a map has 100000 fields, of at most 20000`},
		{"the same field in two maps", "a: {b: 1}\nc: {b: 1}\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			begin := time.Now()
			_, err := Split("f.yaml", []byte(tt.text))
			if (tt.want == "") != (err == nil) || (err != nil && err.Error() != tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}
