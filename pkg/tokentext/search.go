package tokentext

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"html"
	"io"
	"maps"
	"mime/quotedprintable"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"tokenward.dev/tokenward/pkg/token"
)

// More of what can be undone.
const (
	undoneMail     = "quoted-printable decoded"
	undoneHTML     = "HTML undone"
	undoneGzip     = "gzip decompressed"
	undoneField    = "taken out of a field"
	undoneUnicode  = "escaped characters replaced"
	undonePassword = "user name before the token removed"
)

// The bounds of a search.
const (
	maxDepth = 8
	maxTexts = 400
	maxText  = 2 << 20 // of one text, once it is undone
)

// candidate is a text that a token may be in, and how it came about.
type candidate struct {
	text string
	reading
	depth int
}

// search looks for whole tokens under any wrapping that it knows, one within the
// other: what was read as damaged may be whole, once something else is undone.
func search(text string) []Found {
	queue := []candidate{{text: text}}
	seen := map[string]bool{text: true}
	for len(queue) > 0 && len(seen) < maxTexts {
		c := queue[0]
		queue = queue[1:]
		if found := c.wholes(); len(found) > 0 {
			return found
		}
		if c.depth == maxDepth {
			continue
		}
		for _, next := range c.undo() {
			if next.text = strings.TrimSpace(next.text); len(next.text) >= shortest && len(next.text) <= maxText && !seen[next.text] {
				seen[next.text] = true
				next.depth = c.depth + 1
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// inWords finds what has the form of a token, with padding and in either alphabet.
var inWords = regexp.MustCompile(`ey[A-Za-z0-9_+/-]{8,}={0,2}\.[A-Za-z0-9_+/-]{16,}={0,2}\.[A-Za-z0-9_+/-]{16,}={0,2}`)

var (
	// asItIs finds a token as it was made.
	asItIs = regexp.MustCompile(`ey[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}`)
	// moreAfter and moreBefore are beside a match that is only a part of a word, or of
	// one that goes on below.
	moreAfter  = regexp.MustCompile(`^(?:\.[A-Za-z0-9_-]{16}|<\s*w?\s*b|(?:\\|=|\s*[│┃║|])\r?\n)`)
	moreBefore = regexp.MustCompile(`[A-Za-z0-9_-]{16}\.$`)
)

// alone returns what has the form of a token, and is no part of a longer word with
// dots: two tokens in one word are no token.
func alone(pattern *regexp.Regexp, text string) []string {
	var all []string
	for _, at := range pattern.FindAllStringIndex(text, -1) {
		if !moreAfter.MatchString(text[at[1]:]) && !moreBefore.MatchString(text[max(0, at[0]-17):at[0]]) && !goesOn(text[at[1]:]) {
			all = append(all, text[at[0]:at[1]])
		}
	}
	return all
}

var nextLine = regexp.MustCompile(`^\s*\n\s*([A-Za-z0-9_-]{16})`)

// goesOn reports whether a match may have more in the line below: the beginning of
// a signature may be as long as that of a shorter key.
func goesOn(text string) bool {
	below := nextLine.FindStringSubmatch(text)
	return below != nil && !strings.HasPrefix(below[1], "ey")
}

// wholes returns the tokens that stand in the text whole, or over several lines.
func (c *candidate) wholes() []Found {
	var all []Found
	seen := map[string]bool{}
	add := func(words []string, undone ...string) {
		for _, word := range words {
			r, plain := c.undid(undone...).alphabet(word)
			if t, err := token.Parse([]byte(plain)); err == nil && wholeToken(plain) && !seen[plain] {
				seen[plain] = true
				all = append(all, r.whole(t, plain))
			}
		}
	}
	for _, pattern := range []*regexp.Regexp{asItIs, inWords} {
		if len(all) == 0 {
			add(alone(pattern, c.text))
		}
		if len(all) == 0 {
			add(alone(pattern, joined(c.text)), undoneSpaces)
		}
	}
	if len(all) == 0 {
		add(overLines(c.text), undoneSpaces)
	}
	return all
}

// maxJoined bounds over how many lines a token is put together.
const maxJoined = 200

// overLines puts tokens together that begin in a line and go on in those below,
// until they are whole.
func overLines(text string) []string {
	lines := strings.Split(text, "\n")
	if len(lines) > maxLines {
		return nil
	}
	var all []string
	for i, line := range lines {
		at := strings.Index(line, "ey")
		if at < 0 {
			continue
		}
		word, whole := strings.TrimSpace(line[at:]), ""
		for _, next := range lines[i+1 : min(len(lines), i+maxJoined)] {
			first, _, more := strings.Cut(strings.TrimSpace(next), " ")
			if more || strings.HasSuffix(first, ":") {
				if longer := word + strings.TrimRight(first, ":"); isWhole(longer) {
					whole = longer
				}
				break
			}
			if !onlyTokenChars(strings.TrimSpace(next)) {
				break
			}
			word += strings.TrimSpace(next)
			if isWhole(word) { // the longest: a line may end where a shorter one would
				whole = word
			}
		}
		if whole != "" {
			all = append(all, whole)
		}
	}
	return all
}

func isWhole(word string) bool { return inWords.FindString(word) == word && wholeToken(word) }

// undo returns what the text may stand for.
func (c *candidate) undo() []candidate {
	var all []candidate
	add := func(text string, undone ...string) {
		if text != c.text {
			all = append(all, candidate{text: text, reading: c.undid(undone...)})
		}
	}
	plain, undone := clean(c.text)
	add(plain, undone...)
	add(escapes(c.text), undoneEscapes)
	add(unquotedURL(c.text), undoneURL)
	add(unicodes(c.text), undoneUnicode)
	add(withoutMargins(c.text), undoneMargins)
	add(withoutMarkup(c.text), undoneHTML)
	if strings.Contains(c.text, "=\n") || strings.Contains(c.text, "=\r\n") || strings.Contains(c.text, "=3D") || strings.Contains(c.text, "=2E") {
		if text, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(c.text))); err == nil {
			add(string(text), undoneMail)
		}
	}
	for _, text := range strings.FieldsFunc(c.text, func(r rune) bool { return strings.ContainsRune("\"'`“”‘’", r) }) {
		add(text, undoneQuotes)
	}
	all = append(all, c.fields()...)
	all = append(all, c.decoded()...)
	return all
}

// decoded undoes base64: of the whole text, of each line, of each word.
func (c *candidate) decoded() []candidate {
	var all []candidate
	words := []string{joined(c.text)}
	words = append(words, strings.FieldsFunc(c.text, func(r rune) bool { return !isTokenChar(r) || r == '.' })...)
	// The value after "key:" may go on in the lines below, as a terminal wraps it.
	if _, value, ok := strings.Cut(c.text, ":"); ok {
		words = append(words, joined(value))
	}
	slices.SortStableFunc(words, func(a, b string) int { return len(b) - len(a) })
	for _, word := range words[:min(len(words), 20)] {
		if len(word) < shortest {
			break
		}
		inside, _ := unbase64(word)
		switch {
		case bytes.HasPrefix(inside, []byte("\x1f\x8b")):
			if text, ok := unzip(inside); ok {
				all = append(all, candidate{text: text, reading: c.undid(undoneBase64, undoneGzip)})
			}
		case len(inside) >= shortest && printable(inside) == len(inside):
			all = append(all, candidate{text: string(inside), reading: c.undid(undoneBase64)})
			if _, password, ok := strings.Cut(string(inside), ":"); ok && !strings.ContainsAny(password, "\n \"") {
				all = append(all, candidate{text: password, reading: c.undid(undoneBase64, undonePassword)})
			}
		case bytes.HasPrefix(inside, []byte{0xff, 0xfe}) || bytes.HasPrefix(inside, []byte{0xfe, 0xff}):
			text, undone := decodeText(inside)
			all = append(all, candidate{text: text, reading: c.undid(append([]string{undoneBase64}, undone...)...)})
		}
	}
	return all
}

func unzip(data []byte) (string, bool) {
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return "", false
	}
	text, err := io.ReadAll(io.LimitReader(reader, maxText))
	return string(text), err == nil
}

// fields returns the texts in documents of YAML or JSON, those that are long.
func (c *candidate) fields() []candidate {
	var all []candidate
	var inside string
	if json.Unmarshal([]byte(strings.TrimSpace(c.text)), &inside) == nil {
		return []candidate{{text: inside, reading: c.undid(undoneJSON)}}
	}
	if !strings.ContainsAny(c.text, ":{[") {
		return nil
	}
	decoder := yaml.NewDecoder(strings.NewReader(c.text))
	for range maxDocuments {
		var o any
		if decoder.Decode(&o) != nil {
			break
		}
		where := c.where
		if fields, ok := o.(object); ok && where == "" && str(fields, "kind") == "Secret" {
			where = "Secret " + named(sub(fields, "metadata"))
		}
		leaves(o, "", func(key, text string) {
			if len(text) >= shortest && text != c.text {
				r := c.undid(undoneField)
				if r.where = where; where != "" && c.where == "" {
					r.where += keyed(key)
				}
				all = append(all, candidate{text: text, reading: r})
			}
		})
	}
	return all
}

// maxDocuments bounds a file of many documents.
const maxDocuments = 100

func leaves(value any, key string, visit func(key, text string)) {
	switch v := value.(type) {
	case object:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			leaves(v[name], name, visit)
		}
	case map[any]any:
		for _, inner := range v {
			leaves(inner, key, visit)
		}
	case []any:
		for _, inner := range v {
			leaves(inner, key, visit)
		}
	case string:
		visit(key, v)
	}
}

var (
	besideLine = regexp.MustCompile(`(?m)^[ \t]*(?:(?:>|#|//|\||\*|;|--|[│┃║]|[0-9]{1,5}(?:[:|)]|[ \t]))[ \t]*)+|^[+-][ \t]*|^[ \t]*\[?[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]+Z?\]?[ \t]+|[ \t]*(?:[│┃║|\\]|\\n)[ \t]*$`)
	markup     = regexp.MustCompile(`<[/!]?[a-zA-Z][^<>]*>`)
	escaped    = regexp.MustCompile(`\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\/|\\"`)
)

// withoutMargins takes off what stands beside each line: marks of mails, comments
// and diffs, numbers, times of a log, frames.
func withoutMargins(text string) string {
	return besideLine.ReplaceAllString(strings.ReplaceAll(text, "\r", ""), "")
}

func withoutMarkup(text string) string {
	if !strings.ContainsAny(text, "<&") {
		return text
	}
	return html.UnescapeString(markup.ReplaceAllString(text, ""))
}

func unicodes(text string) string {
	return escaped.ReplaceAllStringFunc(text, func(code string) string {
		if len(code) == 2 {
			return code[1:]
		}
		c, err := strconv.ParseUint(code[2:], 16, 16)
		if err != nil {
			return code
		}
		return string(rune(c))
	})
}
