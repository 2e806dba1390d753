// Package alerts reads the alerts of the chart, and the queries of its dashboard,
// as Prometheus does. It is a Go module of its own, so that Prometheus stays out
// of ours.
package alerts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/template"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "charts", "tokenward", "files", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func mustParse(t *testing.T, query string) {
	t.Helper()
	if _, err := parser.NewParser(parser.Options{}).ParseExpr(query); err != nil {
		t.Errorf("%s: %v", query, err)
	}
}

func TestAlertsCanBeEvaluated(t *testing.T) {
	text := strings.NewReplacer("$HERE", `namespace="a",job="b"`, "$SLOW", "0.5").Replace(string(read(t, "alerts.yaml")))
	var alerts []struct {
		Alert, Expr, For    string
		Labels, Annotations map[string]string
	}
	if err := yaml.Unmarshal([]byte(text), &alerts); err != nil {
		t.Fatal(err)
	}
	if len(alerts) < 8 {
		t.Fatalf("%d alerts", len(alerts))
	}
	functions := template.FuncMap{}
	for _, name := range []string{"humanize", "humanizeDuration", "humanizePercentage"} {
		functions[name] = func(any) string { return "" }
	}
	for _, a := range alerts {
		t.Run(a.Alert, func(t *testing.T) {
			mustParse(t, a.Expr)
			if a.For == "" || a.Labels["severity"] == "" || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
				t.Errorf("not all that an alert needs: %+v", a)
			}
			for _, text := range a.Annotations {
				// Prometheus defines these before the text.
				if _, err := template.New("").Funcs(functions).Parse(`{{$labels := .}}{{$value := .}}` + text); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestDashboardCanBeEvaluated(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(read(t, "dashboard.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	interval := regexp.MustCompile(`\$__rate_interval`)
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			mustParse(t, interval.ReplaceAllString(target.Expr, "5m"))
		}
	}
	if len(dashboard.Panels) < 8 {
		t.Errorf("%d panels", len(dashboard.Panels))
	}
}
