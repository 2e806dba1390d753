package tokentext

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// What can be wrong with a token. The numbers are filled in.
const (
	problemLostDotFirst   = "the dot between header and payload is missing"
	problemLostDotSecond  = "the dot between payload and signature is missing"
	problemLostDots       = "both dots are missing"
	problemTwo            = "two tokens in one, with nothing between them"
	problemExtraDots      = "more than two dots"
	problemShortened      = "shortened for display (...): the middle is missing"
	problemDash           = "a dash that a word processor put in place of one hyphen or two"
	problemForeign        = "a character that no token has"
	problemFollowed       = "other text follows it, as when a shell prompt sticks to it"
	problemMissing        = "missing: the end was cut off"
	problemHeadMissing    = "missing: the beginning was cut off"
	problemOnlyPayload    = "this is a payload alone, without header and signature"
	problemCut            = "cut off"
	problemStart          = "its first characters are missing or were changed"
	problemLost           = "a character is missing, or one is too many"
	problemUnreadable     = "characters are missing or were changed"
	problemEncoded        = "a character of the base64 around it is missing or was changed"
	problemSignatureShort = "%d characters, where %s has %d: %d missing"
	problemSignatureLong  = "%d characters, where %s has %d: too many"
	problemSignatureRSA   = "%d characters, which is the length of no RSA signature: cut off, or characters are missing"
)

// diagnose says what is wrong with a word that has dots and is no token, and
// returns header and payload as far as they can be told apart. It returns nil
// if the word was never a token.
func diagnose(word string) (d *Damage, header, payload string) {
	parts := strings.Split(word, ".")
	header = parts[0]
	if len(parts) > 1 {
		payload = parts[1]
	}
	if d := foreign(word); d != nil {
		if strings.HasPrefix(word, "ey") || completeJSON(payload) {
			return d, header, payload
		}
		return nil, "", ""
	}
	switch len(parts) {
	case 2:
		return diagnoseTwo(header, payload)
	case 3:
		return diagnoseThree(header, payload, parts[2])
	}
	if !strings.HasPrefix(word, "ey") && !completeJSON(payload) {
		return nil, "", ""
	}
	if strings.Contains(word, "...") || strings.Contains(word, "..") {
		return &Damage{Part: Whole, Problem: problemShortened}, header, payload
	}
	if len(parts) == 6 || len(parts) == 5 && strings.Contains(parts[2], "eyJ") {
		return &Damage{Part: Whole, Problem: problemTwo}, header, payload
	}
	return &Damage{Part: Whole, Problem: problemExtraDots}, header, payload
}

// foreign names the first character that no token has.
func foreign(word string) *Damage {
	at := strings.IndexFunc(word, func(r rune) bool { return !isTokenChar(r) || strings.ContainsRune("+/=", r) })
	if at < 0 {
		return nil
	}
	head := word[:at]
	dots := strings.Count(head, ".")
	d := &Damage{Part: Whole, Problem: problemForeign, Near: at - strings.LastIndexByte(head, '.')}
	if dots < 3 {
		d.Part = []Part{Header, Payload, Signature}[dots]
	}
	switch c, _ := utf8.DecodeRuneInString(word[at:]); {
	case c == '…' || c == '*':
		d.Problem = problemShortened
	case c == '–' || c == '—':
		d.Problem = problemDash
	case d.Part == Signature && d.Near > 80:
		d.Problem = problemFollowed
	}
	return d
}

func diagnoseTwo(a, b string) (d *Damage, header, payload string) {
	if first, rest := firstObject(a); first != "" && rest != "" {
		// No character of a payload that follows may stand for less.
		if completeJSON(rest) {
			return &Damage{Part: Dot, Problem: problemLostDotFirst}, first, rest
		}
	}
	if completeJSON(a) {
		switch first, rest := firstObject(b); {
		case first != "" && rest != "":
			return &Damage{Part: Dot, Problem: problemLostDotSecond}, a, first
		case first != "":
			return &Damage{Part: Signature, Problem: problemMissing}, a, b
		case isClaims(a): // payload and signature
			return &Damage{Part: Header, Problem: problemHeadMissing}, "", a
		}
		if near := readableUpTo(b); near >= len(b)-4 {
			return &Damage{Part: Payload, Problem: problemCut, Near: len(b)}, a, ""
		}
		return unreadable(Payload, b), a, ""
	}
	if strings.HasPrefix(a, "ey") {
		return unreadable(Header, a), "", b
	}
	return nil, "", ""
}

func diagnoseThree(header, payload, signature string) (*Damage, string, string) {
	goodHeader, goodPayload := completeJSON(header), completeJSON(payload)
	switch {
	case goodHeader && goodPayload:
		if signature == "" {
			return &Damage{Part: Signature, Problem: problemMissing}, header, payload
		}
		if d := signatureLength(algorithmOf(header), signature); d != nil {
			return d, header, payload
		}
		if len(signature)%4 == 1 {
			return &Damage{Part: Signature, Problem: problemLost}, header, payload
		}
		return nil, header, payload
	case goodHeader && payload == "":
		return &Damage{Part: Payload, Problem: problemMissing}, header, payload
	case goodHeader:
		return unreadable(Payload, payload), header, payload
	case goodPayload && header == "":
		return &Damage{Part: Header, Problem: problemHeadMissing}, header, payload
	case goodPayload || strings.HasPrefix(header, "ey"):
		return unreadable(Header, header), header, payload
	}
	return nil, "", ""
}

// diagnoseUndotted tells what is left of a token from base64 of something else.
func diagnoseUndotted(word string, inside []byte) (d *Damage, header, payload string) {
	if !bytes.HasPrefix(inside, []byte(`{"`)) {
		return nil, "", ""
	}
	first, rest := firstObject(word)
	switch {
	case first == "" && bytes.Contains(inside, []byte(`"alg"`)):
		if readableUpTo(word) < len(word)-4 {
			return unreadable(Header, word), "", ""
		}
		return &Damage{Part: Header, Problem: problemCut, Near: len(word)}, "", ""
	case first == "":
		return nil, "", ""
	case isClaims(first):
		return &Damage{Part: Whole, Problem: problemOnlyPayload}, "", first
	case algorithmOf(first) == "":
		return nil, "", "" // some other JSON in base64
	case rest == "":
		return &Damage{Part: Payload, Problem: problemMissing}, first, ""
	}
	second, _ := firstObject(rest)
	return &Damage{Part: Dot, Problem: problemLostDots}, first, second
}

// diagnoseEncoded goes by how much of a token base64 came to before it broke.
func diagnoseEncoded(head string) (d *Damage, header, payload string) {
	if at := strings.Index(head, "ey"); at >= 0 && len(head) >= shortest {
		parts := strings.Split(head[at:], ".")
		part := []Part{Header, Payload, Signature}[min(len(parts), 3)-1]
		header = parts[0]
		if len(parts) > 2 {
			payload = parts[1]
		}
		return &Damage{Part: part, Problem: problemEncoded, Near: len(parts[len(parts)-1])}, header, payload
	}
	return nil, "", ""
}

// unreadable says how a part that is no JSON came to be so.
func unreadable(part Part, text string) *Damage {
	near := readableUpTo(text)
	switch {
	case near < 3:
		return &Damage{Part: part, Problem: problemStart}
	case len(text)%4 == 1:
		return &Damage{Part: part, Problem: problemLost, Near: near}
	}
	return &Damage{Part: part, Problem: problemUnreadable, Near: near}
}

// readableUpTo returns after about how many characters a part stops being JSON.
func readableUpTo(part string) int {
	inside, _ := unbase64(part)
	good := printable(inside)
	var syntax *json.SyntaxError
	if err := json.Unmarshal(inside[:good], new(json.RawMessage)); errors.As(err, &syntax) && !strings.HasPrefix(err.Error(), "unexpected end") {
		good = min(good, int(syntax.Offset)-1)
	}
	return (good*8 + 5) / 6
}

// firstObject cuts a part where the JSON object ends that it begins with, and
// returns what follows. It returns nothing if there is no whole object.
func firstObject(part string) (object, rest string) {
	inside, _ := unbase64(part)
	if !bytes.HasPrefix(bytes.TrimSpace(inside), []byte("{")) {
		return "", ""
	}
	decoder := json.NewDecoder(bytes.NewReader(inside))
	if err := decoder.Decode(new(json.RawMessage)); err != nil {
		return "", ""
	}
	end := min((int(decoder.InputOffset())*8+5)/6, len(part))
	return part[:end], part[end:]
}

func completeJSON(part string) bool {
	inside, intact := unbase64(part)
	return intact && bytes.HasPrefix(bytes.TrimSpace(inside), []byte("{")) && utf8.Valid(inside) && json.Valid(inside)
}

func algorithmOf(header string) string {
	inside, _ := unbase64(header)
	var h struct {
		Algorithm string `json:"alg"`
	}
	if json.Unmarshal(inside, &h) != nil {
		return ""
	}
	return h.Algorithm
}

func isClaims(part string) bool {
	inside, _ := unbase64(part)
	var c struct {
		Issuer  any `json:"iss"`
		Subject any `json:"sub"`
	}
	return json.Unmarshal(inside, &c) == nil && (c.Issuer != nil || c.Subject != nil)
}

// signatureLength compares a signature with what its algorithm makes (RFC 7518,
// section 3). An RSA signature is as long as the key, whose length is, in
// practice, a multiple of 512 bits.
func signatureLength(algorithm, signature string) *Damage {
	const rsaStep = 512 / 8
	got, want, maker := len(signature), 0, algorithm
	switch {
	case algorithm == "ES256":
		want = chars(64)
	case algorithm == "ES384":
		want = chars(96)
	case algorithm == "ES512":
		want = chars(132)
	case strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS"):
		for size := 2 * rsaStep; size <= 2048; size += rsaStep {
			if got == chars(size) {
				return nil
			}
			if missing := chars(size) - got; missing > 0 && missing <= 2 {
				return &Damage{Part: Signature, Problem: fmt.Sprintf(problemSignatureShort, got, fmt.Sprintf("RSA of %d bits", size*8), chars(size), missing)}
			}
		}
		return &Damage{Part: Signature, Problem: fmt.Sprintf(problemSignatureRSA, got)}
	default:
		return nil
	}
	switch {
	case got < want:
		return &Damage{Part: Signature, Problem: fmt.Sprintf(problemSignatureShort, got, maker, want, want-got)}
	case got > want:
		return &Damage{Part: Signature, Problem: fmt.Sprintf(problemSignatureLong, got, maker, want)}
	}
	return nil
}

// chars returns how many characters of base64 stand for so many bytes.
func chars(size int) int { return (size*8 + 5) / 6 }
