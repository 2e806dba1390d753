// Package printable makes text that anybody may have written safe for a
// terminal, a log and a table: names from manifests, events, claims of tokens,
// errors that quote them. No result holds a control character, a mark that turns
// the direction of writing, another character that nobody sees, or bytes that are
// not UTF-8.
//
// It is at the bottom: it imports the standard library alone.
package printable

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxName bounds a name: a namespace and a name of an object, each as long as
	// Kubernetes allows, fit in.
	maxName = 600
	// maxLines bounds a text of several lines.
	maxLines = 64 << 10
	// cut stands in the place of what was left out.
	cut = "..."
)

// Name returns a name as it is, or quoted as in Go if it has a character that
// must not be printed, so that two names never look alike. A long one is cut.
func Name(name string) string {
	if !strings.ContainsFunc(name, unprintable) && utf8.ValidString(name) {
		return clip(name, maxName)
	}
	quoted := strconv.Quote(name)
	return `"` + clip(quoted[1:len(quoted)-1], maxName) + `"`
}

// Text returns prose on one line of at most limit bytes. White space, and
// whatever must not be printed, becomes one space.
func Text(text string, limit int) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, " "), func(r rune) bool {
		return unicode.IsSpace(r) || unprintable(r)
	}), " ")
	return clip(text, limit)
}

// Lines returns a text of several lines: line breaks and tabs stay, and other
// characters that must not be printed are escaped as in Go.
func Lines(text string) string {
	var b strings.Builder
	for len(text) > 0 && b.Len() <= maxLines {
		r, size := utf8.DecodeRuneInString(text)
		part := text[:size]
		if unprintable(r) && r != '\n' && r != '\t' || r == utf8.RuneError && size == 1 {
			part = strings.Trim(strconv.QuoteToASCII(part), `"`)
		}
		b.WriteString(part)
		text = text[size:]
	}
	return clip(b.String(), maxLines)
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// clip cuts valid UTF-8 to at most limit bytes.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:max(0, limit-len(cut))], "") + cut
}
