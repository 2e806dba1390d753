package app

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
)

// tokenLike is what errors hide: a word that starts like a token, and one that is
// longer than any name. Flags, file names and servers are repeated by libraries.
var tokenLike = regexp.MustCompile(`\bey[A-Za-z0-9_-]{16,}[A-Za-z0-9_.+/=-]*|[A-Za-z0-9_.+=-]{100,}`) //nolint:gochecknoglobals // constant

// repeated is a text that repeats what somebody typed, or what stands in a file:
// without tokens that are where none belongs, and without control of a terminal.
func repeated(text string) string {
	text = tokenLike.ReplaceAllLiteralString(text, "(hidden: it may be a token)")
	var b strings.Builder
	for _, r := range text {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// warner returns what prints warnings.
func warner(cmd *cobra.Command) func(string) {
	return func(text string) { cmd.PrintErrln("warning:", repeated(text)) }
}

// completeWords makes the shell complete the value of a flag with words.
func completeWords(command *cobra.Command, flag string, words ...string) {
	_ = command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}
