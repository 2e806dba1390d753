package strictyaml

import (
	"strings"
	"testing"
	"time"
)

func TestSplit(t *testing.T) {
	docs, err := Split("f.yaml", []byte("# nothing\n---\na: 1\n--- # two\n\n---\nb: Off\nc: yes\n1: x\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) != 2 || string(docs[0].JSON) != `{"a":1}` || string(docs[1].JSON) != `{"1":"x","b":"Off","c":"yes"}` || docs[1].Index != 2 {
		t.Errorf("got %+v", docs)
	}
}

func TestSyntaxErrorsTellTheLineOfTheFile(t *testing.T) {
	_, err := Split("f.yaml", []byte("a: 1\n---\nb: 1\nc: [\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:") || !strings.Contains(err.Error(), "document 2") {
		t.Errorf("got %v", err)
	}
	_, err = Split("f.yaml", []byte("a: 1\n---\nb: 1\nb: 2\n"))
	if want := `f.yaml:4: document 2: mapping key "b" already defined at line 3`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAliasesDoNotExplode(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		d := string(rune('0' + i))
		n := string(rune('1' + i))
		bomb += "a" + n + ": &a" + n + " [" + strings.TrimSuffix(strings.Repeat("*a"+d+", ", 9), ", ") + "]\n"
	}
	start := time.Now()
	if _, err := Split("f.yaml", []byte(bomb)); err == nil {
		t.Error("want an error")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"onUnknown", "mode", "checks"}
	for word, want := range map[string]string{"onUnkown": "onUnknown", "Mode": "mode", "chekcs": "checks", "templateAction": "", "zzzzzz": ""} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}
