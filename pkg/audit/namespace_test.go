package audit

import (
	"testing"

	"github.com/go-logr/logr"

	"tokenward.dev/tokenward/pkg/metrics"
)

func TestFindingsOfANamespaceThatWentDoNotCount(t *testing.T) {
	a := NewAuditor(Options{
		Only: []string{"shop"}, Namespaces: func() map[string]map[string]string { return nil }, Metrics: metrics.New(), Log: logr.Discard(),
	})
	a.counts = map[string]map[findingLabels]int{"shop": {{"secret-exists", "Warn", "absent"}: 1}}
	a.audit(t.Context(), "shop")
	if len(a.counts) != 0 {
		t.Errorf("counted: %v", a.counts)
	}
}
