package strictyaml

import (
	"bytes"
	encoding "encoding/json"
	"errors"
	"io"
)

// eachJSON splits JSON objects that follow each other without a separator, as jq
// prints them. Any other text is visited as a whole.
func eachJSON(text []byte, first int, visit func(text []byte, first int)) {
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		visit(text, first)
		return
	}
	var ends []int64
	decoder := encoding.NewDecoder(bytes.NewReader(text))
	for {
		var object encoding.RawMessage
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) && len(ends) > 1 {
			break
		}
		if err != nil || object[0] != '{' {
			visit(text, first)
			return
		}
		ends = append(ends, decoder.InputOffset())
	}
	start := int64(0)
	for _, end := range ends {
		// Spaces replace what comes before it in its line, so that columns are right.
		line := bytes.LastIndexByte(text[:start], '\n') + 1
		part := append(bytes.Repeat([]byte(" "), int(start)-line), text[start:end]...)
		visit(part, first+bytes.Count(text[:line], []byte("\n")))
		start = end
	}
}
