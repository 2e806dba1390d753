package strictyaml

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// order is what the tests decode into.
type order struct {
	metav1.TypeMeta `json:",inline"`
	Customer        string            `json:"customer"`
	Paid            bool              `json:"paid"`
	Count           int               `json:"count"`
	Labels          map[string]string `json:"labels"`
	Items           []item            `json:"items"`
	Due             *metav1.Time      `json:"due"`
	Wait            *metav1.Duration  `json:"wait"`
}

type item struct {
	Name     string `json:"name"`
	Quantity int    `json:"quantity"`
}

func one(t *testing.T, text string) *Document {
	t.Helper()
	docs, err := Split("f.yaml", []byte(text))
	if err != nil || len(docs) != 1 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	return &docs[0]
}

func TestDecode(t *testing.T) {
	tests := []struct{ name, text, strict, lenient string }{
		{name: "what is right", text: "customer: a\nitems:\n- name: x\n  quantity: 2\nlabels: {any: thing}\ndue: 2027-03-31T00:00:00Z\nwait: 5m\n"},
		{
			name: "a misspelled field", text: "customer: a\n\npiad: true\n",
			strict:  `f.yaml:3: document 1: piad: unknown field; did you mean "paid"?`,
			lenient: `f.yaml:3: document 1: piad: unknown field; did you mean "paid"?`,
		},
		{
			name: "a misspelled field within a list", text: "items:\n- name: x\n- name: y\n  quanttiy: 1\n",
			strict:  `f.yaml:4: document 1: items[1].quanttiy: unknown field; did you mean "quantity"?`,
			lenient: `f.yaml:4: document 1: items[1].quanttiy: unknown field; did you mean "quantity"?`,
		},
		{
			name: "a field that is like no other", text: "items:\n- somethingElse: x\n",
			strict: `f.yaml:2: document 1: items[0].somethingElse: unknown field; known here: name, quantity`,
		},
		{
			name: "a string for a number", text: "customer: a\ncount: three\n",
			strict:  "f.yaml:2: document 1: count: expected a number, found string",
			lenient: "f.yaml:2: document 1: count: expected a number, found string",
		},
		{
			name: "a word of YAML 1.1 for a boolean", text: "paid: yes\n",
			strict:  "f.yaml:1: document 1: paid: expected true or false, found string",
			lenient: "f.yaml:1: document 1: paid: expected true or false, found string",
		},
		{
			name: "a map for a list", text: "items: {name: x}\n",
			strict:  "f.yaml:1: document 1: items: expected a list, found object",
			lenient: "f.yaml:1: document 1: items: expected a list, found object",
		},
		{
			name: "a number for a map", text: "a: &x 1\nlabels: *x\n",
			strict:  "f.yaml:2: document 1: labels: expected a map, found number",
			lenient: "f.yaml:2: document 1: labels: expected a map, found number",
		},
		{
			name: "a number for the kind", text: "kind: 1\n",
			strict:  "f.yaml:1: document 1: kind: expected a string, found number",
			lenient: "f.yaml:1: document 1: kind: expected a string, found number",
		},
		{
			name: "a day that is no time", text: "customer: a\ndue: 2027-03-31\n",
			strict:  `f.yaml:2: document 1: due: expected a time such as 2027-03-31T00:00:00Z, found "2027-03-31"`,
			lenient: `f.yaml:2: document 1: due: expected a time such as 2027-03-31T00:00:00Z, found "2027-03-31"`,
		},
		{
			name: "a duration without its unit", text: "customer: a\nwait: \"5\"\n",
			strict:  `f.yaml:2: document 1: wait: expected a duration such as 30s or 5m, found "5"`,
			lenient: `f.yaml:2: document 1: wait: expected a duration such as 30s or 5m, found "5"`,
		},
		{
			name: "a bad time whose text stands twice", text: "customer: tomorrow\ndue: tomorrow\n",
			strict:  `f.yaml:1: document 1: parsing time "tomorrow" as "2006-01-02T15:04:05Z07:00": cannot parse "tomorrow" as "2006"`,
			lenient: `f.yaml:1: document 1: parsing time "tomorrow" as "2006-01-02T15:04:05Z07:00": cannot parse "tomorrow" as "2006"`,
		},
		{
			name: "a document that is a list", text: "- a\n",
			strict:  "f.yaml:1: document 1: expected a map, found array",
			lenient: "f.yaml:1: document 1: expected a map, found array",
		},
		{
			name: "all mistakes are told at once", text: "piad: true\nitems:\n- nmae: x\n",
			strict:  "f.yaml:3: document 1: items[0].nmae: unknown field; did you mean \"name\"?\nf.yaml:1: document 1: piad: unknown field; did you mean \"paid\"?",
			lenient: "f.yaml:3: document 1: items[0].nmae: unknown field; did you mean \"name\"?\nf.yaml:1: document 1: piad: unknown field; did you mean \"paid\"?",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := one(t, tt.text)
			text := func(err error) string {
				if err == nil {
					return ""
				}
				return err.Error()
			}
			if got := text(d.Decode(&order{})); got != tt.strict {
				t.Errorf("strict: got\n%s\nwant\n%s", got, tt.strict)
			}
			if got := text(d.DecodeLenient(&order{})); got != tt.lenient {
				t.Errorf("lenient: got\n%s\nwant\n%s", got, tt.lenient)
			}
		})
	}
}

func TestPeekLeavesOtherFieldsAlone(t *testing.T) {
	var some struct {
		Kind string `json:"kind"`
	}
	if err := one(t, "kind: Order\npiad: 1\n").Peek(&some); err != nil || some.Kind != "Order" {
		t.Errorf("got %+v, %v", some, err)
	}
	if err := one(t, "\nkind: [a]\n").Peek(&some); err == nil || err.Error() != "f.yaml:2: document 1: kind: expected a string, found array" {
		t.Errorf("got %v", err)
	}
}

func TestScalarsAreWhatPeopleMean(t *testing.T) {
	for text, want := range map[string]string{
		"a: Off":                    `{"a":"Off"}`,
		"a: no":                     `{"a":"no"}`,
		"a: true":                   `{"a":true}`,
		"a: 2027-03-31":             `{"a":"2027-03-31"}`,
		"a: ~":                      `{"a":null}`,
		"a: 9007199254740993":       `{"a":9007199254740993}`,
		"true: 1":                   `{"true":1}`,
		"a: &x {b: 1}\nc: {<<: *x}": `{"a":{"b":1},"c":{"b":1}}`,
	} {
		if got := string(one(t, text).JSON); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{name: "a second document without a separator", text: "a: 1\n---\nb: 1\n--- {c: 1}\n", want: "f.yaml:4: document 2: a second document starts here: put a line with --- alone before it"},
		{name: "a value that starts with a backtick", text: "a: 1\nb: `x`\n", want: "f.yaml:2: document 1: a tab, or another character that nothing starts with: YAML is indented by spaces, and text that starts with @, ` or % takes quotes"},
		{name: "each document with an error is told", text: "a: [\n---\nb: 1\n---\nc: [\n", want: "document 3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Split("f.yaml", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestGoodDocumentsAreThereBesideABrokenOne(t *testing.T) {
	docs, err := Split("f.yaml", []byte("a: 1\n---\nb: [\n---\nc: 3\n"))
	if err == nil || len(docs) != 2 || docs[1].Index != 3 || docs[1].ErrorAt("c", "x").Error() != "f.yaml:5: document 3: c: x" {
		t.Errorf("got %+v, %v", docs, err)
	}
}

func TestErrorsAreAtTheInnermostFieldThatIsThere(t *testing.T) {
	d := one(t, "# a comment\na:\n  b:\n  - c: 1\n  - c: 2\nd: &x {e: 1}\nf: *x\n")
	for path, want := range map[string]string{
		"a.b[1].c":  "f.yaml:5: document 1: a.b[1].c: x",
		"a.b[1].z":  "f.yaml:5: document 1: a.b[1].z: x",
		"a.b[7].c":  "f.yaml:3: document 1: a.b[7].c: x",
		"a.z":       "f.yaml:2: document 1: a.z: x",
		"z":         "f.yaml:2: document 1: z: x",
		"":          "f.yaml:2: document 1: x",
		"f.e":       "f.yaml:6: document 1: f.e: x",
		"a.b.c":     "f.yaml:3: document 1: a.b.c: x",
		"a.b[-1].c": "f.yaml:3: document 1: a.b[-1].c: x",
	} {
		if got := d.ErrorAt(path, "x").Error(); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
	err := d.FieldErrors(field.ErrorList{
		field.Required(field.NewPath("a").Child("b").Index(0).Child("c"), "give it"), field.Invalid(field.NewPath("d"), "v", "no"),
	})
	if want := "f.yaml:4: document 1: a.b[0].c: Required value: give it\nf.yaml:6: document 1: d: Invalid value: \"v\": no"; err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAPartTellsThePlaceInTheWhole(t *testing.T) {
	d := one(t, "orders:\n- customer: a\n- customer: b\n  piad: true\n")
	part := d.Part("orders[1]", []byte(`{"customer":"b","piad":true}`))
	if err := part.Decode(&order{}); err == nil || err.Error() != `f.yaml:4: document 1: orders[1].piad: unknown field; did you mean "paid"?` {
		t.Errorf("got %v", err)
	}
	inner := part.Part("customer", []byte(`"b"`))
	if got := inner.ErrorAt("", "x").Error(); got != "f.yaml:3: document 1: orders[1].customer: x" {
		t.Errorf("got %s", got)
	}
	if line, column := part.Position("customer"); line != 3 || column != 13 {
		t.Errorf("got %d:%d", line, column)
	}
}

func TestComment(t *testing.T) {
	d := one(t, "# Source: chart/templates/a.yaml\n#other\n\na: 1\n# Late: x\n")
	if got := d.Comment("Source: "); got != "chart/templates/a.yaml" {
		t.Errorf("got %q", got)
	}
	if got := d.Comment("Late: "); got != "" {
		t.Errorf("got %q", got)
	}
}

// Positions of every value in files of several documents, YAML and JSON.
func TestEveryPositionIsWhereItsValueStands(t *testing.T) {
	random := rand.New(rand.NewSource(1)) //nolint:gosec // random files, not keys
	for range 200 {
		var file strings.Builder
		var values []any
		asJSON := random.Intn(2) == 0
		for range 1 + random.Intn(3) {
			value := map[string]any{"a": randomValue(random, 3), "b": randomValue(random, 3)}
			values = append(values, value)
			text, err := yaml.Marshal(value)
			if asJSON {
				text, err = json.MarshalIndent(value, "", strings.Repeat(" ", random.Intn(3)))
			}
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&file, "# a comment\n%s\n---\n", text)
		}
		docs, err := Split("f", []byte(file.String()))
		if err != nil || len(docs) != len(values) {
			t.Fatalf("%d documents of %d, %v:\n%s", len(docs), len(values), err, file.String())
		}
		lines := strings.Split(file.String(), "\n")
		for i := range docs {
			eachLeaf("", values[i], func(path, value string) {
				line, column := docs[i].Position(path)
				if rest := strings.TrimLeft(lines[line-1][column-1:], `"`); !strings.HasPrefix(rest, value) {
					t.Fatalf("%s is said to be at %d:%d, where %q stands:\n%s", path, line, column, rest, file.String())
				}
			})
		}
	}
}

// randomValue makes nested maps and lists of words that are all different.
func randomValue(random *rand.Rand, depth int) any {
	switch kind := random.Intn(3); {
	case depth == 0 || kind == 0:
		return "w" + strconv.Itoa(random.Int())
	case kind == 1:
		list := make([]any, random.Intn(3))
		for i := range list {
			list[i] = randomValue(random, depth-1)
		}
		return list
	default:
		out := map[string]any{}
		for i := range random.Intn(3) {
			out["k"+strconv.Itoa(i)] = randomValue(random, depth-1)
		}
		return out
	}
}

func eachLeaf(path string, value any, visit func(path, value string)) {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			eachLeaf(join(path, name), inner, visit)
		}
	case []any:
		for i, inner := range v {
			eachLeaf(fmt.Sprintf("%s[%d]", path, i), inner, visit)
		}
	case string:
		visit(path, v)
	}
}
