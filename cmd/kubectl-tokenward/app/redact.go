package app

import (
	"regexp"

	"github.com/spf13/cobra"

	"tokenward.dev/tokenward/pkg/printable"
	"tokenward.dev/tokenward/pkg/tokentext"
)

// tokenLike is what errors hide: a word that starts like a token, and one that is
// longer than any name. Libraries quote flags, file names and servers.
var tokenLike = regexp.MustCompile(`\bey[A-Za-z0-9_-]{16,}[A-Za-z0-9_.+/=-]*|[A-Za-z0-9_.+=-]{100,}`) //nolint:gochecknoglobals // constant

// redact makes a text safe that quotes what somebody typed, or what stands in a
// file: it hides tokens, and escapes what would control a terminal.
func redact(text string) string {
	return printable.Lines(tokenLike.ReplaceAllLiteralString(text, "(hidden: it may be a token)"))
}

// mayQuote reports whether an error may quote what somebody typed: what could be
// a token it may not.
func mayQuote(text string) bool {
	_, err := tokentext.Read([]byte(text))
	return err != nil && len(text) < 200
}

// commandWord is a word that may be quoted: a token is none.
var commandWord = regexp.MustCompile(`^[a-z-]{1,20}$`) //nolint:gochecknoglobals // constant

// warner returns what prints warnings.
func warner(cmd *cobra.Command) func(string) {
	return func(text string) { cmd.PrintErrln("warning:", redact(text)) }
}
