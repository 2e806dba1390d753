package intake

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	// firstBuffer is what most bodies fit into.
	firstBuffer = 16 << 10
	// slowest is how many bytes a second must come of a large body once it is its
	// turn; nothing else that is large gets one meanwhile.
	slowest = 4 << 20
)

// Body reads the body of a request. The buffer grows with what has arrived, never
// with what is announced. With an error it returns what there is of the body.
func (v *Visit) Body(r *http.Request) ([]byte, error) {
	announced := r.ContentLength
	body := make([]byte, 0, firstBuffer)
	if announced >= 0 && announced < firstBuffer {
		body = make([]byte, 0, announced+1)
	}
	if err := v.hold(int64(cap(body))); err != nil {
		return nil, err
	}
	for {
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case len(body) > MaxBody, announced > MaxBody && len(body) > 0:
			return body, refusal(TooLarge, "the body is larger than %d bytes", MaxBody)
		case errors.Is(err, io.EOF) && announced > int64(len(body)):
			return body, refusal(BrokenBody, "the body could not be read: it ended after %d of %d bytes", len(body), announced)
		case errors.Is(err, io.EOF):
			// What is read from now on only shows whether the client is still there.
			_ = v.control.SetReadDeadline(time.Time{})
			return body, nil
		case err != nil:
			return body, v.broken(err)
		}
		if len(body) < cap(body) {
			continue
		}
		if body, err = v.grow(body, announced); err != nil {
			return body, err
		}
	}
}

// grow returns a larger buffer with the body. Beyond smallBody the body has to wait
// for its turn first.
func (v *Visit) grow(body []byte, announced int64) ([]byte, error) {
	size := min(4*int64(cap(body)), MaxBody+1)
	if size > smallBody && cap(body) < smallBody {
		size = smallBody
	}
	if announced > 0 && announced < 8*int64(cap(body)) {
		size = announced + 1 // the one shows that it ends there
	}
	if size <= smallBody {
		if err := v.hold(size); err != nil {
			return body, err
		}
	} else if len(v.release) == 0 {
		if err := v.waitForBody(); err != nil {
			return body, err
		}
		if err := v.hold(0); err != nil {
			return body, err
		}
		v.enter(reading)
		rest := int64(MaxBody)
		if announced > 0 {
			rest = announced
		}
		by := time.Now().Add(time.Second/2 + time.Duration(rest*int64(time.Second)/slowest))
		if by.Before(v.until) {
			_ = v.control.SetReadDeadline(by)
		}
	}
	larger := make([]byte, len(body), size)
	copy(larger, body)
	return larger, nil
}

func (v *Visit) broken(err error) error {
	v.gate.mu.Lock()
	cut := v.cut
	v.gate.mu.Unlock()
	switch {
	case cut:
		return v.cutOff()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refusal(TooSlow, "the body did not arrive in time")
	}
	return refusal(BrokenBody, "the body could not be read: %v", err)
}
