package survey

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestATextOfAnEventIsNotObeyedByATerminal(t *testing.T) {
	got := latest(nil, &corev1.Event{Reason: "FailedMount", Message: "MountVolume\x1b[31m failed\u009b\nfor\tb\x07ad\u202e"})
	if len(got) != 1 || got[0].message != "MountVolume [31m failed for b ad" {
		t.Errorf("got %+v", got)
	}
}
