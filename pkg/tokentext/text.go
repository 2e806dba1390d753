package tokentext

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"tokenward.dev/tokenward/pkg/token"
)

//nolint:gochecknoglobals // constants
var (
	// before finds what people write before a token: a field of YAML or JSON, a
	// variable, a header, a flag.
	before = regexp.MustCompile(`(?i)(?:^|[\s"'{,;$(-])(?:[a-z0-9_-]*token|authorization)["']?(?:\s*[:=]\s*|\s+)(?:["'\x60]\s*)?(?:bearer(?:\s+|\+))?|\bbearer(?::?\s+|\+)`)
	// inText finds a token in prose: a header and the first dot.
	inText = regexp.MustCompile(`\bey[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`)
	// margins are what mail, a shell that waits for more, and a terminal that is
	// divided put beside each line.
	margins = regexp.MustCompile(`(?m)^[ \t]*>[ \t]+|[ \t]*[│┃]`)
	percent = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

	bootstrap = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)
)

// shortest is the length below which nothing is taken for a token.
const shortest = 24

// text reads what is no document: a token with something around it.
func (r reading) text(text string) ([]Found, error) {
	if what := vendorOf(text); what != nil {
		return nil, what
	}
	if plain := unquotedURL(text); plain != text {
		return r.undid(undoneURL).read(plain)
	}
	if plain := escapes(text); plain != text {
		r, text = r.undid(undoneEscapes), plain
	}
	if plain := margins.ReplaceAllString(text, ""); plain != text {
		r, text = r.undid(undoneMargins), plain
	}
	if all := r.several(text); all != nil {
		return all, nil
	}
	for _, at := range before.FindAllStringIndex(text, -1) {
		if rest, quoted := value(text[at[1]:], text[at[0]:at[1]]); len(rest) >= shortest && !strings.HasSuffix(rest, "bytes") {
			r := r.leaving(text, rest)
			if rest != joined(rest) {
				r = r.undid(undoneSpaces)
			}
			if quoted {
				r = r.unquoted()
			}
			return r.undid(undonePrefix).one(joined(rest))
		}
	}
	if fields := strings.Fields(text); len(fields) > 1 && !onlyTokenChars(strings.Trim(strings.Join(fields, ""), "\"'`<>,;%")) {
		if whole := within(text); whole != "" {
			return r.undid(undoneAround).one(whole)
		}
		if at := inText.FindStringIndex(text); at != nil {
			rest, _ := value(text[at[0]:], "")
			r = r.leaving(text, rest)
			if rest != joined(rest) {
				r = r.undid(undoneSpaces)
			}
			return r.undid(undoneAround).one(joined(rest))
		}
		return nil, &NotToken{What: "text without a token in it"}
	}
	if plain := joined(text); plain != text {
		r, text = r.undid(undoneSpaces), plain
	}
	return r.one(text)
}

// longRun is as much as there may be of a token, or of base64 of one.
var longRun = regexp.MustCompile(`[A-Za-z0-9_+/-]{24,}`)

// leaving notes whether more of a token may be in what is left of a text.
func (r reading) leaving(text, taken string) reading {
	head, tail, _ := strings.Cut(text, taken)
	next, _, _ := strings.Cut(strings.TrimLeft(tail, "\r\n\v\f "), " ")
	wrapped := strings.HasPrefix(strings.TrimLeft(tail, " \r"), "\n") && len(next) > 0 && isTokenChar(rune(next[0])) && strings.ContainsAny(taken, "\n")
	r.unsure = r.unsure || wrapped || longRun.MatchString(head) || longRun.MatchString(tail)
	return r
}

// escapes takes out what stands for a line break in quoted text and in shells.
func escapes(text string) string {
	return strings.NewReplacer("\\\r\n", "\n", "\\\n", "\n", `\r\n`, "\n", `\n`, "\n").Replace(text)
}

// unquotedURL undoes the encoding of addresses and forms.
func unquotedURL(text string) string {
	return percent.ReplaceAllStringFunc(text, func(code string) string {
		c, err := strconv.ParseUint(code[1:], 16, 8)
		if err != nil {
			return code
		}
		return string([]byte{byte(c)})
	})
}

// several reports tokens that stand one after another, each whole.
func (r reading) several(text string) []Found {
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return nil
	}
	all := make([]Found, 0, len(fields))
	for i, field := range fields {
		t, err := token.Parse([]byte(field))
		if err != nil {
			return nil
		}
		all = append(all, r.foundIn(fmt.Sprintf("token %d of %d", i+1, len(fields))).whole(t, field))
	}
	return all
}

// one reads a single word.
func (r reading) one(word string) ([]Found, error) {
	r, word = r.trim(word)
	if what := vendorOf(word); what != nil {
		return nil, what
	}
	if what := encrypted(word); what != nil {
		return nil, what
	}
	if hidden(word) {
		return nil, &NotToken{What: "a place where a token was hidden", Hint: "kubectl config view --raw shows those of a kubeconfig"}
	}
	if !strings.ContainsRune(word, '.') {
		return r.encoded(word)
	}
	if whole := within(word); whole != "" {
		return r.undid(undoneAround).one(whole)
	}
	r, word = r.alphabet(word)
	t, err := token.Parse([]byte(word))
	if err == nil {
		return []Found{r.whole(t, word)}, nil
	}
	d, header, payload := diagnose(word)
	switch {
	case d == nil && !strings.HasPrefix(word, "ey"):
		return nil, opaque()
	case d == nil:
		d = &Damage{Part: Whole, Problem: err.Error()}
	}
	return []Found{r.damaged(d, header, payload)}, nil
}

func opaque() *NotToken {
	return &NotToken{What: "an opaque token or a password", Hint: "it is no JWT, so that nothing can be read in it"}
}

func hidden(word string) bool {
	plain := strings.Trim(word, "<>[]")
	return strings.EqualFold(plain, "redacted") || plain == "DATA+OMITTED" || plain == "REDACTED" || strings.Trim(word, "*") == ""
}

// unquoted notes that quotes went, unless what was noted says so.
func (r reading) unquoted() reading {
	if slices.Contains(r.undone, undoneCurly) || slices.Contains(r.undone, undoneAround) {
		return r
	}
	return r.undid(undoneQuotes)
}

// trim takes off what sticks to the ends of a word.
func (r reading) trim(word string) (reading, string) {
	if inner := strings.Trim(word, "\"'`<>(){}[]"); inner != word {
		r, word = r.unquoted(), inner
	}
	if inner := strings.TrimRight(word, ",;\"'`"); inner != word {
		r, word = r.undid(undonePunctation), inner
	}
	if inner := strings.TrimSuffix(word, "%"); inner != word {
		r, word = r.undid(undoneMark), inner
	}
	if strings.Count(word, ".") == 3 && strings.HasSuffix(word, ".") { // the end of a sentence
		r, word = r.undid(undonePunctation), strings.TrimSuffix(word, ".")
	}
	return r, word
}

// alphabet brings a token that was encoded by another base64 into its own.
func (r reading) alphabet(word string) (reading, string) {
	parts := strings.Split(word, ".")
	for i := range parts {
		if plain := strings.TrimRight(parts[i], "="); plain != parts[i] {
			r, parts[i] = r.undid(undonePadding), plain
		}
	}
	word = strings.Join(parts, ".")
	if plain := strings.NewReplacer("+", "-", "/", "_").Replace(word); plain != word {
		r, word = r.undid(undoneAlphabet), plain
	}
	return r, word
}

// encoded reads a word without dots: base64 of something, or half a token.
func (r reading) encoded(word string) ([]Found, error) {
	inside, intact := unbase64(word)
	d, header, payload := diagnoseUndotted(word, inside)
	if d != nil {
		return []Found{r.damaged(d, header, payload)}, nil
	}
	if r.layers >= maxLayers || len(inside) < shortest {
		return nil, opaque()
	}
	r.layers++
	if r.layers > 1 {
		r = r.undid(undoneBase64, undoneTwice)
	}
	r = r.undid(undoneBase64)
	readable := printable(inside)
	if readable == len(inside) {
		found, err := r.read(string(inside))
		if intact || err == nil && found[0].Damage == nil { // padding may be lost alone
			return found, err
		}
	}
	if d, header, payload := diagnoseEncoded(string(inside[:readable])); d != nil {
		return []Found{r.damaged(d, header, payload)}, nil
	}
	return nil, opaque()
}

// unbase64 decodes either alphabet as far as it goes, padded or not. It is not
// intact if the length tells that something is missing.
func unbase64(word string) (inside []byte, intact bool) {
	plain := strings.TrimRight(word, "=")
	intact = len(plain)%4 != 1 && (len(plain) == len(word) || len(word)%4 == 0)
	if len(plain)%4 == 1 {
		plain = plain[:len(plain)-1]
	}
	plain = strings.NewReplacer("-", "+", "_", "/").Replace(plain)
	inside = make([]byte, base64.RawStdEncoding.DecodedLen(len(plain)))
	n, err := base64.RawStdEncoding.Decode(inside, []byte(plain))
	return inside[:n], intact && err == nil
}

// printable returns how many bytes at the start are readable text.
func printable(text []byte) int {
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && size <= 1 || c < ' ' && !strings.ContainsRune("\n\r\t\v\f\x1b\x00", c) || c == 0x7f {
			return i
		}
		i += size
	}
	return len(text)
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
