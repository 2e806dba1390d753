package intake

import "fmt"

// Reason says why a request is not let in. It is a closed set: it labels metrics.
type Reason string

// The reasons.
const (
	Busy           Reason = "busy"             // others take the room
	TooLarge       Reason = "too_large"        // the body, or what it would be decoded to
	TooSlow        Reason = "too_slow"         // the body did not arrive in time
	TooManyHeaders Reason = "too_many_headers" // header fields
	BrokenBody     Reason = "broken_body"      // it ended early
)

// Reasons returns all reasons.
func Reasons() []Reason { return []Reason{Busy, TooLarge, TooSlow, TooManyHeaders, BrokenBody} }

// Refusal is the error of a request that is not let in.
type Refusal struct {
	Reason  Reason
	Message string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Message }

func refusal(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
