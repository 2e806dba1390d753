package hostile

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 is a connection of HTTP/2, frame by frame.
type h2 struct {
	*http2.Framer
	next   uint32
	buffer bytes.Buffer
	coder  *hpack.Encoder
	ended  chan struct{} // when the server has ended the connection
}

func (x *target) h2(address string, settings ...http2.Setting) (*h2, io.Closer, error) {
	conn, err := x.dialFrom(address, "h2")
	if err != nil {
		return nil, nil, err
	}
	c := &h2{Framer: http2.NewFramer(conn, conn), next: 1, ended: make(chan struct{})}
	c.AllowIllegalWrites = true
	c.coder = hpack.NewEncoder(&c.buffer)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, nil, err
	}
	if err := c.WriteSettings(settings...); err != nil {
		return nil, nil, err
	}
	go func() {
		defer close(c.ended)
		_, _ = io.Copy(io.Discard, conn)
	}()
	return c, conn, nil
}

// post opens a stream with a header of a request, and fields beside it.
func (c *h2) post(end bool, fields ...hpack.HeaderField) (uint32, error) {
	c.buffer.Reset()
	for _, f := range append([]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: "/validate/pods?timeout=2s"},
	}, fields...) {
		_ = c.coder.WriteField(f)
	}
	id := c.next
	c.next += 2
	block := c.buffer.Bytes()
	first := block[:min(len(block), 16_000)]
	rest := block[len(first):]
	err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndHeaders: len(rest) == 0, EndStream: end})
	for err == nil && len(rest) > 0 {
		n := min(len(rest), 16_000)
		err = c.WriteContinuation(id, n == len(rest), rest[:n])
		rest = rest[n:]
	}
	return id, err
}

// streams are what comes over HTTP/2.
func streams() []row {
	length := hpack.HeaderField{Name: "content-length", Value: "20000000"}
	// on runs an attack on some connections at a time, each until it fails or ends, and
	// holds them.
	on := func(name string, n int, hold time.Duration, attack func(c *h2) error, settings ...http2.Setting) row {
		return row{name: name, within: hold + 4*time.Second, run: func(t *testing.T, x *target) {
			done := make(chan struct{})
			for i := range n {
				go func() {
					defer func() { done <- struct{}{} }()
					// From some addresses, as if attackers had as many pods. The server may
					// close any of them to make room.
					c, conn, err := x.h2("127.0.1."+itoa(1+i%10), settings...)
					if err != nil {
						return
					}
					defer func() { _ = conn.Close() }()
					_ = attack(c) // the server may end the connection, as it should
					select {
					case <-c.ended:
					case <-time.After(hold):
					}
				}()
			}
			for range n {
				<-done
			}
		}}
	}
	repeat := func(n int, do func(c *h2, i int) error) func(*h2) error {
		return func(c *h2) error {
			for i := range n {
				if err := do(c, i); err != nil {
					return err
				}
			}
			return nil
		}
	}
	announce := func(c *h2, _ int) error { _, err := c.post(false, length); return err }
	text := review{pod: pod{}.json()}.body()
	one := on("one connection that announces bodies and sends none", 1, 2*time.Second, repeat(250, announce))
	one.above = 48
	return []row{
		one,
		on("20 connections that announce bodies and send none", 20, 2*time.Second, repeat(100, announce)),
		on("250 connections that send 60 KiB on each stream and stop", 250, 2*time.Second, repeat(100, func(c *h2, _ int) error {
			id, err := c.post(false, length)
			for range 4 {
				if err == nil {
					err = c.WriteData(id, false, make([]byte, 15<<10))
				}
			}
			return err
		})),
		on("250 connections with 15 KiB of header on each stream", 250, 2*time.Second, repeat(100, func(c *h2, _ int) error {
			_, err := c.post(false, hpack.HeaderField{Name: "a", Value: strings.Repeat("x", 15_000), Sensitive: true})
			return err
		})),
		on("20 connections that send 60 KiB on each stream and stop", 20, 2*time.Second, repeat(100, func(c *h2, _ int) error {
			id, err := c.post(false, length)
			for range 4 {
				if err == nil {
					err = c.WriteData(id, false, make([]byte, 15<<10))
				}
			}
			return err
		})),
		on("20 connections with 60 KiB of header on each stream", 20, 2*time.Second, repeat(100, func(c *h2, _ int) error {
			_, err := c.post(false, hpack.HeaderField{Name: "a", Value: strings.Repeat("x", 60_000), Sensitive: true})
			return err
		})),
		on("20 connections with 1,500 tiny fields on each stream", 20, 2*time.Second, repeat(100, func(c *h2, _ int) error {
			fields := make([]hpack.HeaderField, 1500)
			for i := range fields {
				fields[i] = hpack.HeaderField{Name: fmt.Sprintf("h%d", i), Sensitive: true}
			}
			_, err := c.post(false, fields...)
			return err
		})),
		on("answers that nobody reads", 10, 2*time.Second, repeat(100, func(c *h2, _ int) error {
			id, err := c.post(false)
			if err == nil {
				err = c.WriteData(id, true, text)
			}
			return err
		}), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}),
		on("20,000 streams that are reset at once", 2, 0, repeat(20_000, func(c *h2, _ int) error {
			id, err := c.post(false)
			if err == nil {
				err = c.WriteRSTStream(id, http2.ErrCodeCancel)
			}
			return err
		})),
		on("5,000 reviews that are reset at once", 2, 0, repeat(5_000, func(c *h2, _ int) error {
			id, err := c.post(false)
			if err == nil {
				err = c.WriteData(id, true, text)
			}
			if err == nil {
				err = c.WriteRSTStream(id, http2.ErrCodeCancel)
			}
			return err
		})),
		on("continuations without an end", 5, 0, func(c *h2) error {
			err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
			for i := 0; i < 20_000 && err == nil; i++ {
				err = c.WriteContinuation(1, false, []byte{0, 1, 'a', 1, 'b'})
			}
			return err
		}),
		on("empty continuations", 5, 0, func(c *h2) error {
			err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
			for i := 0; i < 50_000 && err == nil; i++ {
				err = c.WriteContinuation(1, false, nil)
			}
			return err
		}),
		on("a header that decompresses to gigabytes", 2, 0, repeat(200, func(c *h2, i int) error {
			fields := []hpack.HeaderField{{Name: "a", Value: strings.Repeat("x", 3500)}}
			for range 2000 { // each is a byte that stands for the first
				fields = append(fields, fields[0])
			}
			_, err := c.post(true, fields...)
			return err
		})),
		on("50,000 pings", 2, 0, repeat(50_000, func(c *h2, i int) error { return c.WritePing(false, [8]byte{byte(i)}) })),
		on("50,000 settings", 2, 0, repeat(50_000, func(c *h2, i int) error {
			return c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
		})),
		on("50,000 priorities", 2, 0, repeat(50_000, func(c *h2, i int) error {
			return c.WritePriority(uint32(2*i+1), http2.PriorityParam{StreamDep: uint32(2*i + 3)})
		})),
		on("50,000 empty frames of data", 2, 0, func(c *h2) error {
			id, err := c.post(false)
			for i := 0; i < 50_000 && err == nil; i++ {
				err = c.WriteData(id, false, nil)
			}
			return err
		}),
		on("frames of data that are padding", 2, 0, func(c *h2) error {
			id, err := c.post(false)
			for i := 0; i < 2_000 && err == nil; i++ {
				err = c.WriteDataPadded(id, false, nil, make([]byte, 255))
			}
			return err
		}),
		on("more data than the window allows", 1, 0, func(c *h2) error {
			id, err := c.post(false)
			for i := 0; i < 2_000 && err == nil; i++ {
				err = c.WriteData(id, false, make([]byte, 16<<10))
			}
			return err
		}),
		on("windows that overflow", 1, 0, repeat(10, func(c *h2, _ int) error { return c.WriteWindowUpdate(0, 1<<31-1) })),
		on("a frame larger than allowed", 1, 0, func(c *h2) error { return c.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 1<<20)) }),
		on("frames of no known type", 2, 0, repeat(20_000, func(c *h2, i int) error { return c.WriteRawFrame(http2.FrameType(200), 0, uint32(i), nil) })),
		on("streams with even numbers", 1, 0, func(c *h2) error { c.next = 2; return announce(c, 0) }),
		on("a stream that is pushed by the client", 1, 0, func(c *h2) error {
			return c.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true})
		}),
		on("a goodbye, and then streams", 2, 0, func(c *h2) error {
			if err := c.WriteGoAway(0, http2.ErrCodeNo, nil); err != nil {
				return err
			}
			return repeat(1000, announce)(c)
		}),
		{name: "an HTTP/2 preface that is not one", within: 7 * time.Second, run: func(t *testing.T, x *target) {
			conn, err := x.dial("h2")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, strings.Repeat("GET ", 10_000))
			if _, err := io.ReadAll(conn); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Error(err)
			}
		}},
	}
}
