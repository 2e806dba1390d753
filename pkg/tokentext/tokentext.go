// Package tokentext finds service-account tokens in what people copy: a token with
// quotes, prefixes or line breaks around it, base64, a Secret, the output of
// kubectl describe, a kubeconfig. It says what had to be undone, and names the
// damage of what cannot be mended.
//
// It is pure: it imports the standard library, YAML and package token. No text
// that it makes holds any part of a token: what was undone, problems and hints
// are sentences of a closed set, with no more than numbers in them.
package tokentext

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"tokenward.dev/tokenward/pkg/token"
)

// MaxSize is the most bytes that are read: a List of Secrets may be long.
const MaxSize = 8 << 20

// maxLayers bounds how often base64 is undone: base64 in a Secret, of base64.
const maxLayers = 4

// Found is one token in what was pasted.
type Found struct {
	// Token is nil if the damage leaves none.
	Token *token.Token
	// Claims are what can be read, of a damaged token too; nil for nothing.
	// Whether they are true only the signature of a whole token tells.
	Claims *token.Claims
	// Algorithm and KeyID stand in the header; empty if that can't be read.
	Algorithm, KeyID string
	// Where it was in a larger document: "Secret shop/robot, key token".
	Where string
	// Undone is what was done to get at it, in order.
	Undone []string
	// Damage is nil if none was seen. Beside a Token it is a suspicion, which a
	// good signature refutes.
	Damage *Damage

	raw string
	// unsure is set if the damage may be of what was cut out, and not of the token.
	unsure bool
}

// Raw returns the token as a client sends it, for a request with it. Nobody may
// print it.
func (f *Found) Raw() string { return f.raw }

// String says whose token it is, and nothing that would let anybody in.
func (f Found) String() string {
	if f.Token != nil {
		return f.Token.String()
	}
	return "damaged token"
}

// Format prints String for every verb.
func (f Found) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, f.String()) }

// Part is a part of a token.
type Part string

// The parts. Dot is between two of them, Whole is none in particular.
const (
	Header    Part = "header"
	Payload   Part = "payload"
	Signature Part = "signature"
	Dot       Part = "dot"
	Whole     Part = "token"
)

// Damage is what is wrong with a token that was pasted.
type Damage struct {
	Part Part
	// Problem is a sentence without its end: "a character is missing".
	Problem string
	// Near is about which character of the part; 0 if that is not known.
	Near int
}

// String returns the damage in one sentence.
func (d *Damage) String() string {
	text := string(d.Part) + ": " + d.Problem
	if d.Part == Dot {
		text = d.Problem
	}
	if d.Near > 0 {
		text += fmt.Sprintf(", near its character %d", d.Near)
	}
	return text
}

// NotToken is the error for what is something else.
type NotToken struct {
	// What it is: "a certificate".
	What string
	// Hint is how to get at a token; may be empty.
	Hint string
}

// Error returns one sentence, and the hint.
func (e *NotToken) Error() string {
	text := "this is " + e.What + ", not a token"
	if e.Hint != "" {
		text += ": " + e.Hint
	}
	return text
}

// reading is what is known on the way to a token.
type reading struct {
	where  string
	undone []string
	layers int
	unsure bool
}

func (r reading) undid(what ...string) reading {
	for _, w := range what {
		if !slices.Contains(r.undone, w) {
			r.undone = append(slices.Clone(r.undone), w)
		}
	}
	return r
}

func (r reading) foundIn(where string) reading {
	r.where = where
	return r
}

// Read finds the tokens in what was pasted: at least one, unless there is an
// error, which is always a *NotToken.
func Read(input []byte) ([]Found, error) {
	if len(input) > MaxSize {
		return nil, &NotToken{What: fmt.Sprintf("more than %d bytes", MaxSize)}
	}
	text, undone := decodeText(input)
	found, err := reading{}.undid(undone...).read(text)
	if err == nil && (len(found) != 1 || found[0].Damage == nil) {
		return found, nil
	}
	// What looks damaged may be whole under one more wrapping.
	if whole := search(text); len(whole) > 0 {
		for i := range whole {
			whole[i].Undone = append(slices.Clone(undone), whole[i].Undone...)
		}
		return whole, nil
	}
	if err == nil && found[0].doubtful(text) {
		return nil, &NotToken{What: "text with a token in it that does not stand alone", Hint: "paste the token and nothing else"}
	}
	return found, err
}

// doubtful reports whether the damage may be of what is around a token. A good
// token is never called damaged, at the price that some damage is not named.
func (f *Found) doubtful(text string) bool {
	strange := strings.Contains(text, "=") || strings.ContainsFunc(text, func(c rune) bool { return c >= 0x80 })
	lines := strings.Contains(strings.TrimSpace(text), "\n")
	return f.unsure || lines && f.Damage.Problem == problemFollowed || strange && f.Damage.Problem == problemForeign || f.Damage.Problem == problemEncoded && len(f.Undone) > 1
}

// read goes from the most certain form to the least.
func (r reading) read(text string) ([]Found, error) {
	indented, undone := clean(text)
	r = r.undid(undone...)
	text = strings.TrimSpace(indented)
	if text == "" {
		return nil, &NotToken{What: "nothing", Hint: "the input is empty"}
	}
	if t, err := token.Parse([]byte(text)); err == nil {
		return []Found{r.whole(t, text)}, nil
	}
	if what := armoured(text); what != nil {
		return nil, what
	}
	var inside string // JSON within JSON
	if json.Unmarshal([]byte(text), &inside) == nil && (strings.Contains(inside, `"`) || kindLine.MatchString(inside)) {
		return r.undid(undoneJSON).read(inside)
	}
	if objects := parseObjects(indented); len(objects) > 0 {
		found, err := r.objects(objects)
		if err != nil && inText.MatchString(text) { // in a field that we know nothing of
			return r.text(text)
		}
		return found, err
	}
	if strings.HasPrefix(text, "{") { // a terminal breaks lines within strings, too
		if objects := parseObjects(strings.NewReplacer("\r", "", "\n", "").Replace(text)); len(objects) > 0 {
			return r.undid(undoneSpaces).objects(objects)
		}
	}
	if blocks := describedSecrets(text); len(blocks) > 0 {
		return r.described(blocks)
	}
	return r.text(text)
}

// whole reports a token that could be parsed.
func (r reading) whole(t *token.Token, raw string) Found {
	signature := raw[strings.LastIndexByte(raw, '.')+1:]
	return Found{
		Token: t, Claims: &t.Claims, Algorithm: t.Algorithm, KeyID: t.KeyID,
		Where: r.where, Undone: r.undone, Damage: signatureLength(t.Algorithm, signature), raw: raw, unsure: r.unsure,
	}
}

// damaged reports what is left of a token.
func (r reading) damaged(d *Damage, header, payload string) Found {
	f := Found{Where: r.where, Undone: r.undone, Damage: d, unsure: r.unsure}
	known := completeJSON(header)
	if !known {
		header = encode(`{"alg":"none"}`)
	}
	// Package token reads the claims of whole tokens only.
	t, err := token.Parse([]byte(header + "." + payload + ".AA"))
	if err != nil {
		return f
	}
	f.Claims = &t.Claims
	if known {
		f.Algorithm, f.KeyID = t.Algorithm, t.KeyID
	}
	return f
}

// armoured recognises PEM.
func armoured(text string) *NotToken {
	_, rest, found := strings.Cut(text, "-----BEGIN ")
	if !found || strings.Contains(text, "kind:") || strings.Contains(text, `"kind"`) {
		return nil
	}
	label, _, _ := strings.Cut(rest, "-----")
	switch {
	case strings.Contains(label, "PRIVATE KEY"):
		return &NotToken{What: "a private key", Hint: "whoever has it can sign; never paste it anywhere"}
	case strings.Contains(label, "PUBLIC KEY"):
		return &NotToken{What: "a public key", Hint: "token verify takes it by --key-file"}
	case label == "CERTIFICATE":
		return &NotToken{What: "a certificate", Hint: "the token is beside ca.crt, under the key token"}
	}
	return &NotToken{What: "a PEM file"}
}

// EncodedTwice reports whether base64 had to be undone more than once.
func (f *Found) EncodedTwice() bool { return slices.Contains(f.Undone, undoneTwice) }
