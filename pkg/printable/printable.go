// Package printable makes text that anybody may have written safe for a
// terminal, a log and a table: names from manifests, events, claims of tokens,
// errors that quote them. No result holds a control character, a mark that turns
// the direction of writing, another character that nobody sees, bytes that are not
// UTF-8, or a command to a CI system that reads the log.
//
// It is at the bottom: it imports the standard library alone.
package printable

import (
	"math"
	"regexp"
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

// Whole as the limit of a text cuts nothing.
const Whole = math.MaxInt

// Name returns a name as it is, or quoted as in Go if it has a character that
// must not be printed, so that two names never look alike. A long one is cut. One
// that a CI system would take for a command is quoted, too.
func Name(name string) string { return nameWithin(name, maxName) }

// WholeName is Name for files: it cuts nothing.
func WholeName(name string) string { return nameWithin(name, Whole) }

func nameWithin(name string, limit int) string {
	if !strings.ContainsFunc(name, unprintable) && utf8.ValidString(name) && !command.MatchString(name) {
		return clip(name, limit)
	}
	quoted := strconv.Quote(name)
	return disarm(`"` + clip(quoted[1:len(quoted)-1], limit) + `"`)
}

// command is what the logs of CI systems act on: "::error::" at the start of a line
// (GitHub), "##[error]" and "##vso[task.setvariable]" anywhere in one (GitHub, Azure),
// "##teamcity[".
var command = regexp.MustCompile(`(^|[\s"'(])::|##+[A-Za-z]*\[`)

// disarm takes commands apart. A line may be broken before any word, so that each
// may come to stand at the start of one.
func disarm(text string) string {
	if !strings.Contains(text, "::") && !strings.Contains(text, "##") {
		return text
	}
	return command.ReplaceAllStringFunc(text, func(found string) string {
		return strings.NewReplacer("::", ": :", "#", "# ").Replace(found)
	})
}

// Text returns prose on one line of at most limit bytes. White space, and
// whatever must not be printed, becomes one space.
func Text(text string, limit int) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, " "), func(r rune) bool {
		return unicode.IsSpace(r) || unprintable(r)
	}), " ")
	return clip(disarm(text), limit)
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
	return clip(disarm(b.String()), maxLines)
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// clip cuts valid UTF-8 to at most limit bytes.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:max(0, limit-len(cut))], "") + cut
}
