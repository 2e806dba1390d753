package intake

import (
	"bytes"
	"fmt"
	"strings"
)

// What values weigh that are decoded from JSON, in bytes. It is more than they take
// up, and as much as is allocated while a list of them grows.
const (
	weightOfObject    = 320 // a map with some members, or a struct
	weightOfElement   = 48
	weightOfVolume    = 700  // corev1.Volume has 30 pointers
	weightOfContainer = 1300 // corev1.Container, and what it is decoded to first
)

// maxDepth is how deep lists and objects are told apart. What is deeper is weighed
// all the same.
const maxDepth = 48

// manyElements is from when on a list is worth naming.
const manyElements = 1000

// Weight is what a body costs when it is decoded.
type Weight struct {
	Bytes int64
	// Longest is the path of the longest list or object, where that is long, and
	// Elements is how many elements it has.
	Longest  string
	Elements int
}

// String names what makes a body heavy.
func (w *Weight) String() string {
	if w.Longest == "" {
		return fmt.Sprintf("it would take %d MiB of memory", w.Bytes>>20)
	}
	return fmt.Sprintf("%s has %d elements", w.Longest, w.Elements)
}

// Weigh tells what it would cost to decode a body, without decoding it: a few bytes
// of JSON can make a value of a kilobyte. It does not tell whether the body is JSON.
func Weigh(body []byte) Weight {
	s := scanner{body: body}
	s.weight.Bytes = 2 * int64(len(body)) // the buffer, and what strings are copied to
	s.scan()
	return s.weight
}

// frame is an object or a list that the scanner is in.
type frame struct {
	key      []byte // the member that it is the value of, or that was read last in it
	elements int
	weight   int64 // of each element that is an object
	list     bool
}

type scanner struct {
	body   []byte
	frames [maxDepth]frame
	depth  int
	weight Weight
}

func (s *scanner) scan() {
	for i := 0; i < len(s.body); i++ {
		switch s.body[i] {
		case '"':
			start := i + 1
			i = endOfString(s.body, start)
			if i+1 < len(s.body) && s.body[i+1] != ',' && s.body[i+1] != '}' {
				s.key(start, i)
			}
		case '{', '[':
			s.open(s.body[i] == '[')
		case '}', ']':
			s.close()
		case ',':
			s.weight.Bytes += weightOfElement
			if s.depth > 0 && s.depth <= maxDepth {
				s.frames[s.depth-1].elements++
			}
		}
	}
	for s.depth > 0 { // a body that ends early
		s.close()
	}
}

// endOfString returns where a string ends that starts at a byte.
func endOfString(body []byte, start int) int {
	i := start
	for ; i < min(len(body), start+64); i++ { // most are short
		if c := body[i]; c == '"' {
			return i
		} else if c == '\\' {
			i++
		}
	}
	for i = min(i, len(body)); ; {
		n := bytes.IndexByte(body[i:], '"')
		if n < 0 {
			return len(body)
		}
		i += n
		escapes := 0
		for j := i - 1; j >= start && body[j] == '\\'; j-- {
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
		i++
	}
}

// key keeps a string if it is the name of a member.
func (s *scanner) key(start, end int) {
	if s.depth == 0 || s.depth > maxDepth {
		return
	}
	after := end + 1
	for after < len(s.body) && (s.body[after] == ' ' || s.body[after] == '\n' || s.body[after] == '\t' || s.body[after] == '\r') {
		after++
	}
	if after < len(s.body) && s.body[after] == ':' {
		s.frames[s.depth-1].key = s.body[start:end]
	}
}

func (s *scanner) open(list bool) {
	f := frame{list: list, weight: weightOfObject}
	if s.depth > 0 && s.depth <= maxDepth {
		above := &s.frames[s.depth-1]
		if !list {
			s.weight.Bytes += above.weight
		} else {
			f.weight = weightOf(above.key)
		}
	} else if !list {
		s.weight.Bytes += weightOfObject
	}
	if list {
		s.weight.Bytes += weightOfElement
	}
	if s.depth++; s.depth <= maxDepth {
		s.frames[s.depth-1] = f
	}
}

// weightOf returns what an object weighs in the list of a name, which the decoder
// takes in any case.
func weightOf(list []byte) int64 {
	switch strings.ToLower(string(list[:min(len(list), maxKey)])) {
	case "volumes":
		return weightOfVolume
	case "containers", "initcontainers", "ephemeralcontainers":
		return weightOfContainer
	}
	return weightOfObject
}

func (s *scanner) close() {
	if s.depth == 0 {
		return
	}
	if s.depth <= maxDepth {
		f := &s.frames[s.depth-1]
		if n := f.elements + 1; n >= manyElements && n > s.weight.Elements {
			s.weight.Elements, s.weight.Longest = n, s.path()
		}
	}
	s.depth--
}

// path returns where the scanner is: "spec.containers[].env".
func (s *scanner) path() string {
	var path strings.Builder
	for i := range s.frames[:s.depth-1] {
		f := &s.frames[i]
		switch {
		case f.list:
			path.WriteString("[]")
		case i < 2 && (string(f.key) == "request" || string(f.key) == "object" || string(f.key) == "oldObject"):
		default:
			if path.Len() > 0 {
				path.WriteByte('.')
			}
			path.Write(f.key[:min(len(f.key), maxKey)])
		}
	}
	return strings.ToValidUTF8(path.String(), "?")
}

// maxKey bounds what of a name is shown.
const maxKey = 63
