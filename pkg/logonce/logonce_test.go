package logonce

import (
	"errors"
	"slices"
	"testing"

	"github.com/go-logr/logr/funcr"
)

func TestReport(t *testing.T) {
	refused, gone := errors.New("refused"), errors.New("gone")
	type call struct {
		kind string
		err  error
	}
	for _, tt := range []struct {
		name  string
		calls []call
		want  []bool
	}{
		{"the first failure is logged", []call{{"read", refused}}, []bool{true}},
		{"the same failure is not logged again", []call{{"read", refused}, {"read", errors.New("refused")}}, []bool{true, false}},
		{"another failure is", []call{{"read", refused}, {"read", gone}, {"read", refused}}, []bool{true, true, true}},
		{"success is not logged", []call{{"read", nil}}, []bool{false}},
		{"after success the same failure is new", []call{{"read", refused}, {"read", nil}, {"read", refused}}, []bool{true, false, true}},
		{"each kind is by itself", []call{{"read", refused}, {"write", refused}, {"write", nil}, {"read", refused}}, []bool{true, true, false, false}},
		{"an error without a text is an error", []call{{"read", errors.New("")}, {"read", errors.New("")}}, []bool{true, false}},
	} {
		lines := 0
		failures := New(funcr.New(func(string, string) { lines++ }, funcr.Options{}))
		var got []bool
		for _, c := range tt.calls {
			got = append(got, failures.Report(c.kind, c.err, "It failed", "kind", c.kind))
		}
		logged := 0
		for _, b := range got {
			if b {
				logged++
			}
		}
		if !slices.Equal(got, tt.want) || lines != logged {
			t.Errorf("%s: got %v and %d lines, want %v", tt.name, got, lines, tt.want)
		}
	}
}
