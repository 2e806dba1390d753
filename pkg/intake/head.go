package intake

import (
	"bytes"
	"encoding/json"
)

// Head is what stands before the objects in a review. It can be read of a body of
// which no more has come than the start.
type Head struct {
	UID       string
	Kind      struct{ Group, Kind string }
	Namespace string
	Operation string
}

// maxHead bounds how much of a body is looked at for its head.
const maxHead = 64 << 10

// ReadHead reads the head of a review. It reports whether there is a uid: without one
// nothing can be answered but an HTTP status.
func ReadHead(body []byte) (head Head, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(body[:min(len(body), maxHead)]))
	if !enterMember(decoder, "request") {
		return head, false
	}
	for {
		name, ok := member(decoder)
		if !ok {
			return head, head.UID != ""
		}
		var into any = &json.RawMessage{}
		switch name {
		case "uid":
			into = &head.UID
		case "kind":
			into = &head.Kind
		case "namespace":
			into = &head.Namespace
		case "operation":
			into = &head.Operation
		case "object", "oldObject":
			return head, head.UID != ""
		}
		if decoder.Decode(into) != nil {
			return head, head.UID != ""
		}
	}
}

// enterMember goes into the object that is the value of a member.
func enterMember(decoder *json.Decoder, want string) bool {
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return false
	}
	for {
		name, ok := member(decoder)
		if !ok {
			return false
		}
		if name == want {
			token, err := decoder.Token()
			return err == nil && token == json.Delim('{')
		}
		var skipped json.RawMessage
		if decoder.Decode(&skipped) != nil {
			return false
		}
	}
}

// member reads the name of the next member.
func member(decoder *json.Decoder) (string, bool) {
	token, err := decoder.Token()
	name, ok := token.(string)
	return name, ok && err == nil
}
