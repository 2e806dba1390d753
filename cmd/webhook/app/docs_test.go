package app

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"tokenward.dev/tokenward/pkg/metrics"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestOperationsHasEveryFlagWithItsDefault(t *testing.T) {
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)`[^|]*\\|([^|]*)\\|").FindAllStringSubmatch(readDoc(t, "operations.md"), -1) {
		documented[row[1]] = strings.Trim(row[2], " `")
	}
	NewCommand().Flags().VisitAll(func(f *pflag.Flag) {
		got, ok := documented[f.Name]
		delete(documented, f.Name)
		if !ok {
			t.Errorf("docs/operations.md has no row for --%s", f.Name)
			return
		}
		if f.DefValue == "" || f.DefValue == "[]" || f.DefValue == "false" {
			if got != "" {
				t.Errorf("docs/operations.md: --%s: default %q, but there is none", f.Name, got)
			}
		} else if got != shortDuration(f.DefValue) {
			t.Errorf("docs/operations.md: --%s: default %q, want %q", f.Name, got, shortDuration(f.DefValue))
		}
	})
	for name := range documented {
		t.Errorf("docs/operations.md: there is no flag --%s", name)
	}
}

// shortDuration is how people write what pflag prints as 10m0s.
func shortDuration(text string) string {
	return regexp.MustCompile(`^([0-9]+h)?(0m|([0-9]+m))?0s$`).ReplaceAllString(text, "$1$3")
}

func TestMonitoringHasEverySeries(t *testing.T) {
	var ours []string
	descriptions := make(chan *prometheus.Desc, 1000)
	metrics.New().Registry.Describe(descriptions)
	close(descriptions)
	for d := range descriptions {
		if name := regexp.MustCompile(`fqName: "(tokenward_[a-z_]+)"`).FindStringSubmatch(d.String()); name != nil {
			ours = append(ours, name[1])
		}
	}
	text := readDoc(t, "monitoring.md")
	for _, name := range ours {
		if !strings.Contains(text, "| `"+name) {
			t.Errorf("docs/monitoring.md has no row for %s", name)
		}
	}
	suffix := regexp.MustCompile(`_(bucket|sum|count)$`)
	for _, name := range regexp.MustCompile(`tokenward_[a-z_]+`).FindAllString(text, -1) {
		if !slices.Contains(ours, name) && !slices.Contains(ours, suffix.ReplaceAllString(name, "")) {
			t.Errorf("docs/monitoring.md: there is no series %s", name)
		}
	}
}

func TestClientAuthenticationShowsTheFilesThatAreTested(t *testing.T) {
	text := readDoc(t, "client-authentication.md")
	for _, name := range []string{"admission.yaml", "webhooks.kubeconfig"} {
		file, err := os.ReadFile(filepath.Join("..", "..", "..", "config", "apiserver", name))
		if err != nil {
			t.Fatal(err)
		}
		if bare := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(string(file), ""); !strings.Contains(text, "```yaml\n"+bare+"```") {
			t.Errorf("docs/client-authentication.md does not show config/apiserver/%s as it is", name)
		}
	}
}
