package makers

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/pkg/workload"
)

// object reads one manifest.
func object(t *testing.T, text string) (*Object, []byte) {
	t.Helper()
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	metadata, _ := fields["metadata"].(map[string]any)
	o := &Object{Fields: func() map[string]any { return fields }}
	o.APIVersion, _ = fields["apiVersion"].(string)
	o.Kind, _ = fields["kind"].(string)
	o.Name, _ = metadata["name"].(string)
	if o.Namespace, o.Scoped = metadata["namespace"].(string); !o.Scoped {
		o.Namespace = "default"
	}
	content, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return o, content
}

// describe names a product: "likely", "fills", and "*" for all namespaces.
func describe(p *Product) string {
	text := p.String()
	if p.Namespace == "" {
		text = string(p.Kind) + " */" + p.Name
	}
	if p.Likely {
		text += " likely"
	}
	if p.Fills {
		text += " fills"
	}
	return text
}

func TestEachRowMakesWhatItsCaseSays(t *testing.T) {
	rows := Rows()
	covered := make([]bool, len(rows))
	for _, tt := range rowCases() {
		t.Run(strings.TrimSpace(tt.text), func(t *testing.T) {
			o, content := object(t, tt.text)
			var got []string
			for i := range rows {
				row := &rows[i]
				var products []Product
				table := &Table{byKind: map[string][]Row{}}
				switch {
				case row.Program != nil:
					pod, err := workload.BuiltinTemplates().FromJSON(content)
					if err != nil {
						continue
					}
					table.programs = []Row{*row}
					p := NewPrograms(table)
					p.AddWorkload(o, &pod.Spec)
					products = p.products
				case row.Kind == "*":
					table.anyKind = []Row{*row}
					products = table.Of(o)
				case row.By == "":
					table.byKind[row.Kind] = []Row{*row}
					products = table.Of(o)
				}
				covered[i] = covered[i] || len(products) > 0
				for j := range products {
					if text := describe(&products[j]); !slices.Contains(got, text) {
						got = append(got, text)
					}
				}
			}
			slices.Sort(got)
			want := slices.Clone(tt.want)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
	for i := range rows {
		if rows[i].By == "" && !covered[i] {
			t.Errorf("no case for what %s %s %+v makes: %v", rows[i].Group, rows[i].Kind, rows[i].Program, rows[i].Makes)
		}
	}
}

func TestEachRowIsWholeAndHasASource(t *testing.T) {
	for _, row := range Rows() {
		if !strings.HasPrefix(row.Source, "https://") {
			t.Errorf("%s %s %+v %s: no source", row.Group, row.Kind, row.Program, row.By)
		}
		if row.Program != nil && row.Program.Image == "" && len(row.Program.Words) == 0 {
			continue // by a variable, which a user's file can't say
		}
		if field, problem := row.problem(); problem != "" {
			t.Errorf("%s %s: %s %s", row.Group, row.Kind, field, problem)
		}
	}
}

// The page of makers is generated, and must be the same each time.
func TestTheOrderOfMakersIsAlwaysTheSame(t *testing.T) {
	described := func() (out []string) {
		for _, r := range Sorted() {
			out = append(out, r.Maker()+": "+r.What())
		}
		return out
	}
	first := described()
	for range 50 {
		if again := described(); !slices.Equal(first, again) {
			t.Fatal("the order differs from one time to the next")
		}
	}
}
