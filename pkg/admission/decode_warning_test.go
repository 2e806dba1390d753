package admission

import (
	"strings"
	"testing"

	"tokenward.dev/tokenward/pkg/workload"
)

func TestAWarningAboutATemplateIsNotObeyedByATerminal(t *testing.T) {
	body := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"group":"apps","version":"v1","kind":"Deploy\u001b[31m\u202e\nment"},` +
		`"resource":{"group":"apps","version":"v1","resource":"deployments"},"operation":"CREATE","object":{"spec":{"template":{"spec":{"containers":"none"}}}}}}`
	in, err := Workloads(workload.BuiltinTemplates())([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if len(in.warnings) != 1 || !strings.HasPrefix(in.warnings[0], "the pod template of this Deploy [31m ment can't be read") {
		t.Errorf("got %q", in.warnings)
	}
}
