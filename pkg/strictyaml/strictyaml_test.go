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

// As jq prints them, and kubectl reads them.
func TestJSONObjectsThatFollowEachOther(t *testing.T) {
	docs, err := Split("f.json", []byte("{\"a\": 1}\n{\"b\":\n 2} {\"c\": 3}\n"))
	if err != nil || len(docs) != 3 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	for i, want := range []struct {
		json, path   string
		line, column int
	}{{`{"a":1}`, "a", 1, 7}, {`{"b":2}`, "b", 3, 2}, {`{"c":3}`, "c", 3, 11}} {
		line, column := docs[i].Position(want.path)
		if string(docs[i].JSON) != want.json || line != want.line || column != want.column || docs[i].Index != i+1 {
			t.Errorf("%s at %d:%d, want %+v", docs[i].JSON, line, column, want)
		}
	}
	for _, text := range []string{"{\"a\": 1}\n{\"b\"", "{\"a\": 1}\nb: 2\n"} {
		if _, err := Split("f.json", []byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
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

// YAML's word for what a character starts is "token": nobody here means that.
func TestTabsAreNotToldAsTokens(t *testing.T) {
	_, err := Split("f.yaml", []byte("a: 1\nb:\n\tc: 1\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:3: document 1: a tab, or another character") {
		t.Errorf("got %v", err)
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
	known := []string{"onUnknown", "hold", "mode", "checks"}
	for word, want := range map[string]string{"onUnkown": "onUnknown", "Mode": "mode", "mood": "mode", "chekcs": "checks", "templateAction": "", "zzzzzz": ""} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}
