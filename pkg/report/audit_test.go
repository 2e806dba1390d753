package report

import (
	"bytes"
	"strings"
	"testing"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

func writeAudit(t *testing.T, format string, a *Audit, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := AuditFormats()[format](&b, a, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Claims of a token, the subject of a certificate and an event are anybody's words.
func TestNoControlCharacterOfAnAuditReachesTheTerminal(t *testing.T) {
	const evil = "a\x1b[2J\u009bb\x07"
	a := &Audit{
		Workloads: []Workload{{Ref: Ref{Kind: "Pod", Namespace: "shop", Name: "p"}, Findings: []Fault{{
			Check: "token-valid", Action: v1alpha1.Deny, Object: "Secret shop/s", Message: "m",
		}}}},
		Dead:       []DeadSecret{{Secret: "shop/s", Account: evil, Why: evil}},
		Stuck:      []StuckPod{{Pod: Ref{Kind: "Pod", Name: "p"}, Reason: "ContainerCreating", Causes: []string{evil}}},
		Tokens:     []TokenUse{{Account: evil, Why: evil}},
		Embedded:   []Embedded{{Key: "k", Account: evil, Why: evil}},
		Accounts:   []Account{{Namespace: "shop", Name: evil}},
		Incomplete: []string{evil},
	}
	for _, format := range []string{"table", "wide"} {
		if text := writeAudit(t, format, a, Options{}); strings.ContainsAny(text, "\x1b\u009b\x07") {
			t.Errorf("%s: %q", format, text)
		}
	}
}

func TestTheLastLineOfAnAudit(t *testing.T) {
	const judged = "0 pods and 0 templates judged by the built-in policy: "
	tests := []struct {
		name  string
		audit Audit
		want  string
	}{
		{"says so where nothing was found", Audit{}, "nothing found"},
		{"says that not all was looked at", Audit{Incomplete: []string{"Secrets could not be read"}}, "nothing found in what could be looked at"},
		{"counts a dead Secret that nobody mounts", Audit{Dead: []DeadSecret{{Secret: "shop/s"}}}, "0 workloads with what is denied, 0 warned about, 0 recorded; 1 token Secret dead"},
		{"counts what is dead in other objects", Audit{Embedded: []Embedded{{Verdict: "invalid"}, {Verdict: "valid"}}}, "0 workloads with what is denied, 0 warned about, 0 recorded; 1 embedded credential dead"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.ReplaceAll(tt.audit.line(), "\n", " "); got != judged+tt.want {
				t.Errorf("got %q, want %q", got, judged+tt.want)
			}
		})
	}
}

func TestWideTellsOfPodsWithoutATokenVolume(t *testing.T) {
	a := &Audit{Tokenless: &Tokenless{Message: "2 of 3 pods have none"}}
	if text := writeAudit(t, "wide", a, Options{}); !strings.Contains(text, "2 of 3 pods have none") {
		t.Errorf("%q", text)
	}
}
