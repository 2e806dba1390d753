package tokentext

import (
	"strings"

	"tokenward.dev/tokenward/pkg/token"
)

// maxLines bounds over how many lines a token is looked for.
const maxLines = 1000

// value returns what belongs to a token that starts here: up to the closing
// quote, or one word and the lines after it that hold nothing else.
func value(text, prefix string) (rest string, quoted bool) {
	if i := strings.LastIndexAny(prefix, "\"'`"); i >= 0 {
		closing := prefix[i : i+1]
		if inside, _, found := strings.Cut(text, closing); found && onlyTokenChars(joined(inside)) {
			return inside, true
		}
	}
	first, after, _ := strings.Cut(text, "\n")
	first = strings.TrimSpace(first)
	if words := strings.Fields(first); len(words) > 1 {
		if pieces(words) {
			return first, false
		}
		return words[0], false
	}
	taken := []string{first}
	for line := range strings.Lines(after) {
		line = strings.TrimSpace(line)
		if !continues(line) || len(taken) == maxLines {
			break
		}
		taken = append(taken, line)
	}
	return strings.Join(upToWhole(taken), "\n"), false
}

// continues reports whether a line can be more of a wrapped token: a variable
// that follows (PATH=/bin) is not, padding is.
func continues(line string) bool {
	line = strings.Trim(line, "\"'`,;")
	return onlyTokenChars(line) && !strings.Contains(strings.TrimRight(line, "="), "=")
}

// upToWhole leaves out the words below a token that is whole without them, such
// as a command. Of two that are whole it takes the longer: a wrapped signature
// may be as long, at the end of a line, as that of a shorter key.
func upToWhole(lines []string) []string {
	for n := len(lines); n > 1; n-- {
		if wholeToken(strings.Trim(strings.Join(lines[:n], ""), "\"'`,;.")) {
			return lines[:n]
		}
	}
	if wholeToken(strings.Trim(lines[0], "\"'`,;")) {
		return lines[:1]
	}
	return lines
}

func wholeToken(word string) bool {
	t, err := token.Parse([]byte(word))
	return err == nil && signatureLength(t.Algorithm, word[strings.LastIndexByte(word, '.')+1:]) == nil
}

// within returns a whole token with marks on both sides that no token has: in
// an address, in HTML. It returns nothing if what is there may be damage.
func within(text string) string {
	at := inText.FindStringIndex(text)
	if at == nil || at[0] == 0 && at[1] == len(text) ||
		at[0] > 0 && !strings.ContainsRune("\"'`>=;:(<[{|, \t\n", rune(text[at[0]-1])) ||
		at[1] < len(text) && !strings.ContainsRune("\"'`<>&;)]}|,\\", rune(text[at[1]])) {
		return ""
	}
	if whole := text[at[0]:at[1]]; wholeToken(whole) {
		return whole
	}
	return ""
}

// pieces reports whether words are one token that was wrapped, and its line
// breaks made spaces.
func pieces(words []string) bool {
	if _, err := token.Parse([]byte(words[0])); err == nil {
		return false
	}
	last := len(words) - 1
	for i, w := range words {
		if !onlyTokenChars(w) || i < last && len(w) < shortest {
			return false
		}
	}
	return true
}
