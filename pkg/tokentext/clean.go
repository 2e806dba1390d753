package tokentext

import (
	"encoding/binary"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"
)

// What can be undone.
const (
	undoneUTF16      = "UTF-16 decoded"
	undoneColours    = "terminal colours removed"
	undoneInvisible  = "invisible characters removed"
	undoneSpaces     = "line breaks and spaces removed"
	undoneCurly      = "curly quotes removed"
	undoneQuotes     = "quotes removed"
	undoneHyphens    = "typographic hyphens replaced by -"
	undoneEscapes    = "escaped line breaks removed"
	undoneURL        = "URL encoding undone"
	undoneJSON       = "JSON string decoded"
	undoneMargins    = "marks beside the lines removed"
	undonePrefix     = `what stands before the token removed, such as "Bearer"`
	undoneAround     = "text around the token removed"
	undoneMark       = "the shell's end-of-line mark % removed"
	undonePunctation = "punctuation at the end removed"
	undonePadding    = "padding (=) removed"
	undoneAlphabet   = "+ and / replaced by - and _"
	undoneBase64     = "base64 decoded"
	undoneTwice      = "base64 decoded once more"
)

// decodeText undoes the encoding that PowerShell writes files in.
func decodeText(input []byte) (string, []string) {
	if len(input) < 2 || len(input)%2 != 0 {
		return string(input), nil
	}
	var order binary.ByteOrder
	switch {
	case input[0] == 0xff && input[1] == 0xfe:
		order = binary.LittleEndian
	case input[0] == 0xfe && input[1] == 0xff:
		order = binary.BigEndian
	default:
		return string(input), nil
	}
	units := make([]uint16, 0, len(input)/2)
	for i := 2; i < len(input); i += 2 {
		units = append(units, order.Uint16(input[i:]))
	}
	return string(utf16.Decode(units)), []string{undoneUTF16}
}

// colours are those, the frame of what is pasted, and the title of a window.
var colours = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)") //nolint:gochecknoglobals // constant

// clean takes out what nobody sees, or sees as something else.
func clean(text string) (string, []string) {
	var undone []string
	note := func(what string) {
		for _, u := range undone {
			if u == what {
				return
			}
		}
		undone = append(undone, what)
	}
	if strings.ContainsRune(text, '\x1b') {
		if plain := colours.ReplaceAllString(text, ""); plain != text {
			text = plain
			note(undoneColours)
		}
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case r < 0x80:
			if r == '\x00' {
				note(undoneInvisible)
				return -1
			}
			return r
		case r == 0x85 || r == 0x2028 || r == 0x2029:
			note(undoneSpaces)
			return '\n'
		case unicode.IsSpace(r):
			note(undoneSpaces)
			return ' '
		case r == 0xad || r == 0x180e || unicode.Is(unicode.Cf, r):
			note(undoneInvisible)
			return -1
		case strings.ContainsRune("“”„‟«»＂″", r):
			note(undoneCurly)
			return '"'
		case strings.ContainsRune("‘’‚‛‹›＇′", r):
			note(undoneCurly)
			return '\''
		case strings.ContainsRune("‐‑−﹣－", r):
			note(undoneHyphens)
			return '-'
		}
		return r
	}, text)
	return text, undone
}

// joined takes white space out.
func joined(text string) string {
	return strings.Join(strings.Fields(text), "")
}

// isTokenChar reports whether a character can stand in a token, in base64 of
// any alphabet, or in its padding.
func isTokenChar(r rune) bool {
	return r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_+/=.", r))
}

func onlyTokenChars(text string) bool {
	return text != "" && strings.IndexFunc(text, func(r rune) bool { return !isTokenChar(r) }) < 0
}
