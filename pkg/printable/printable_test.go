package printable

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// strange are characters and bytes that no terminal may get.
func strange() map[string]string {
	return map[string]string{
		"an escape sequence": "\x1b[31m", "a bell": "\x07", "a carriage return": "\r", "a NUL": "\x00", "a delete": "\x7f",
		"CSI in one character": "\u009b", "CSI in one byte": "\x9b", "half a character": "\xe2\x82",
		"a right-to-left override": "\u202e", "an isolate": "\u2066", "a mark of direction": "\u200f",
		"a zero-width space": "\u200b", "a byte-order mark": "\ufeff", "a line separator": "\u2028", "a next line": "\u0085",
		"a tag character": "\U000e0041", "a private character": "\ue000",
	}
}

func TestNothingStrangeIsPrinted(t *testing.T) {
	for name, text := range strange() {
		for function, got := range map[string]string{
			"Name": Name("a" + text + "b"), "Text": Text("a"+text+"b", 100), "Lines": Lines("a" + text + "b"),
		} {
			if !utf8.ValidString(got) || strings.Contains(got, text) || strings.ContainsFunc(got, unprintable) {
				t.Errorf("%s of %s: %+q", function, name, got)
			}
			if got == "ab" {
				t.Errorf("%s of %s: it vanished, so that two names look alike", function, name)
			}
		}
	}
}

func TestName(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"a name stays", "shop/db", "shop/db"},
		{"a name in any language stays", "Ladenkasse-ü-店", "Ladenkasse-ü-店"},
		{"quotes alone are no reason to quote", `a"b`, `a"b`},
		{"nothing stays nothing", "", ""},
		{"a line break is escaped, and the name quoted", "a\nb", `"a\nb"`},
		{"a quote within is escaped, too", "\"\n", `"\"\n"`},
		{"letters beside it stay readable", "ü\x1b", `"ü\x1b"`},
		{"a byte that is no UTF-8", "a\x9b", `"a\x9b"`},
		{"a replacement character is a character", "a\ufffd", "a\ufffd"},
	} {
		if got := Name(tt.text); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestNoCommandOfACISystemGetsThrough(t *testing.T) {
	for _, text := range []string{
		"::error::x", "::set-output name=a::b", " ::add-mask::x", "a ::stop-commands::b", "##[error]x", "a##[group]b", "##vso[task.setvariable variable=a]b", "##teamcity[x]", "###[error]",
		"\"::error::x", "(::error::x",
	} {
		for function, got := range map[string]string{"Name": Name(text), "Text": Text(text, 100), "Lines": Lines(text)} {
			for _, line := range append(Wrap(got, 3), got) {
				line = strings.TrimLeft(line, " \"'(")
				if strings.HasPrefix(line, "::") || command.MatchString(line) {
					t.Errorf("%s(%q) = %q", function, text, got)
				}
			}
		}
	}
	for _, text := range []string{"[::1]:6443", "std::string", "a::b", "#5", "## heading"} {
		if got := Lines(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestText(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		limit      int
		want       string
	}{
		{"words stay", "can't pull it", 100, "can't pull it"},
		{"lines and tabs become one line", "a\n\tb\r\n c ", 100, "a b c"},
		{"a sequence for terminals loses what makes it one", "a\x1b[31mb", 100, "a [31mb"},
		{"just as long as the limit", "abcdef", 6, "abcdef"},
		{"longer than the limit", "abcdefg", 6, "abc..."},
		{"cut between characters", "äääää", 6, "ä..."},
	} {
		if got := Text(tt.text, tt.limit); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestLines(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"lines and tabs stay", "a\n\tb\n", "a\n\tb\n"},
		{"a carriage return would hide what stands before it", "bad\rgood", `bad\rgood`},
		{"quotes and backslashes stay", `"a\b"`, `"a\b"`},
		{"a quote at the end of what is escaped", "\x1b\"", `\x1b"`},
		{"each byte that is no UTF-8", "\xff\xfe", `\xff\xfe`},
	} {
		if got := Lines(tt.text); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestLengthIsBounded(t *testing.T) {
	long := strings.Repeat("\x1b", 1<<20)
	for name, got := range map[string]int{
		"a name": len(Name(long)) - len(`""`), "a long name": len(Name(strings.Repeat("a", 1<<20))),
		"lines": len(Lines(long)) - maxLines + maxName, "a text": len(Text(strings.Repeat("a ", 1<<20), maxName)),
	} {
		if got > maxName {
			t.Errorf("%s has %d bytes more than it may have", name, got-maxName)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", " ", nil},
		{"it fits", "ab cd", []string{"ab cd"}},
		{"between words", "ab cd ef", []string{"ab cd", "ef"}},
		{"a word that is too long stays whole", "a bcdefghi j", []string{"a", "bcdefghi", "j"}},
		{"by characters, not by bytes", "äö üß", []string{"äö üß"}},
	} {
		if got := Wrap(tt.text, 5); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	for _, text := range strange() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for name, got := range map[string]string{
			"Name": Name(text), "Text": Text(text, 50), "Lines": strings.NewReplacer("\n", "", "\t", "").Replace(Lines(text)),
		} {
			if !utf8.ValidString(got) || strings.ContainsFunc(got, unprintable) {
				t.Errorf("%s(%+q) = %+q", name, text, got)
			}
		}
	})
}
