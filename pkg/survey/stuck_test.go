package survey

import "testing"

func TestATextOfAnEventIsNotObeyedByATerminal(t *testing.T) {
	if got := oneLine("MountVolume\x1b[31m failed\u009b\nfor\tb\x07ad\u202e"); got != "MountVolume [31m failed for b ad" {
		t.Errorf("got %q", got)
	}
}
