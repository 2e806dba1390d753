package intake

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWeighNamesTheLongestList(t *testing.T) {
	many := func(element string) string { return "[" + strings.Repeat(element+",", 1999) + element + "]" }
	tests := []struct{ name, object, want string }{
		{"volumes", `{"spec":{"volumes":` + many("{}") + `}}`, "spec.volumes has 2000 elements"},
		{"variables", `{"spec":{"containers":[{"name":"a","env":` + many(`{"name":"x"}`) + `}]}}`, "spec.containers[].env has 2000 elements"},
		{"a name with an escaped quote", `{"a\"b":` + many("1") + `}`, `a\"b has 2000 elements`},
		{"the longer of two", `{"spec":{"a":` + many("1") + `,"b":` + many("1,1") + `}}`, "spec.b has 4000 elements"},
		{"members of an object", `{"metadata":{"labels":{` + strings.Repeat(`"a":"",`, 1999) + `"b":""}}}`, "metadata.labels has 2000 elements"},
		{"lists in lists", `{"a":[` + many("[]") + `]}`, "a[] has 2000 elements"},
		{"a list that does not end", `{"spec":{"volumes":[` + strings.Repeat("{},", 1999), "spec.volumes has 2000 elements"},
		{"nothing that is long", `{"a":[1,2,3]}`, "it would take 0 MiB of memory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := Weigh([]byte(`{"request":{"uid":"1","object":` + tt.object))
			if got := w.String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWeighIsNotDeceived(t *testing.T) {
	half := New(Limits{Bytes: DefaultBytes}).MaxWeight()
	tests := []struct {
		name, body string
		heavy      bool
	}{
		{"430,000 empty volumes", `{"request":{"object":{"spec":{"volumes":[` + strings.Repeat("{},", 430_000) + `{}]}}}}`, true},
		{"with spaces around the name", `{"request":{"object":{"spec":{"volumes" : [` + strings.Repeat("{},", 100_000) + `{}]}}}}`, true},
		{"with a name in capitals", `{"request":{"object":{"spec":{"VOLUMES":[` + strings.Repeat("{},", 100_000) + `{}]}}}}`, true},
		{"empty objects in metadata", `{"request":{"object":{"metadata":{"managedFields":[` + strings.Repeat("{},", 430_000) + `{}]}}}}`, true},
		{"objects that are very deep", strings.Repeat(`{"a":`, 1_000_000), true},
		{"lists that are very deep", strings.Repeat(`[`, 5_000_000), true},
		{"what looks like objects in a string", `{"request":{"a":"` + strings.Repeat("{},", 430_000) + `"}}`, false},
		{"after an escaped quote", `{"request":{"a":"\"` + strings.Repeat("{},", 430_000) + `"}}`, false},
		{"after an escaped backslash", `{"request":{"a":"\\","b":[` + strings.Repeat("{},", 430_000) + `{}]}}`, true},
		{"the largest review", `{"request":{"object":{"a":"` + strings.Repeat(`\u003c`, 3<<20) + `"}}}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if w := Weigh([]byte(tt.body)); w.Bytes > half != tt.heavy {
				t.Errorf("%d bytes weigh %d, of at most %d", len(tt.body), w.Bytes, half)
			}
		})
	}
}

func captured(t testing.TB) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("..", "admission", "testdata", "validate-pod-3-containers-all-secrets-exist.json"))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestAPlainReviewIsSmall(t *testing.T) {
	if w := Weigh(captured(t)); w.Bytes > smallWeight/4 {
		t.Errorf("it weighs %d", w.Bytes)
	}
}

func TestReadHead(t *testing.T) {
	const objects = `,"object":{"a":1},"oldObject":null}}`
	tests := []struct {
		name, body string
		want       Head
		ok         bool
	}{
		{"a review of an API server", string(captured(t)), Head{Namespace: "team-0", Operation: "CREATE"}, true},
		{"only its start", string(captured(t)[:800]), Head{Namespace: "team-0", Operation: "CREATE"}, true},
		{"another order", `{"request":{"operation":"UPDATE","uid":"1"` + objects, Head{UID: "1", Operation: "UPDATE"}, true},
		{"what follows the object is not read", `{"request":{"object":{},"uid":"1"}}`, Head{}, false},
		{"no request", `{"a":{"uid":"1"}}`, Head{}, false},
		{"no object", `[1]`, Head{}, false},
		{"nothing", ``, Head{}, false},
		{"no uid", `{"request":{"namespace":"a"` + objects, Head{Namespace: "a"}, false},
		{"a uid of another type", `{"request":{"uid":7` + objects, Head{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := ReadHead([]byte(tt.body))
			if strings.HasPrefix(tt.body, `{"kind"`) {
				if got.UID == "" || got.Kind.Kind != "Pod" {
					t.Errorf("got %+v", got)
				}
				got.UID, got.Kind.Kind = "", ""
			}
			if got != tt.want || ok != tt.ok {
				t.Errorf("got %+v, %t, want %+v, %t", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func FuzzWeigh(f *testing.F) {
	f.Add(captured(f))
	f.Add([]byte(`{"request":{"uid":"1","object":{"spec":{"volumes":[{},{"a":["\\\"",{}]}]}}}}`))
	f.Add([]byte(`[[[{]}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		w := Weigh(body)
		if w.Bytes < 2*int64(len(body)) || w.Bytes > 2*int64(len(body))+weightOfContainer*int64(len(body)) {
			t.Errorf("%d bytes weigh %d", len(body), w.Bytes)
		}
		_ = w.String()
		if head, ok := ReadHead(body); ok && head.UID == "" {
			t.Error("a head without a uid")
		}
		// Nothing that decodes has more objects than were weighed.
		var value any
		if json.Unmarshal(body, &value) == nil {
			if n := objects(value); int64(n)*weightOfObject > w.Bytes {
				t.Errorf("%d objects weigh %d", n, w.Bytes)
			}
		}
	})
}

func objects(value any) int {
	n := 0
	switch v := value.(type) {
	case map[string]any:
		n++
		for _, e := range v {
			n += objects(e)
		}
	case []any:
		for _, e := range v {
			n += objects(e)
		}
	}
	return n
}

func BenchmarkWeigh(b *testing.B) {
	body := captured(b)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		Weigh(body)
	}
}
