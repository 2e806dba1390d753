package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// raw opens connections, says something on each, and holds them for a time.
func (x *target) raw(n int, hold time.Duration, say func(i int, conn io.Writer)) {
	var group sync.WaitGroup
	limit := make(chan struct{}, 64)
	end := time.Now().Add(hold)
	for i := range n {
		limit <- struct{}{}
		group.Go(func() {
			conn, err := x.dial("http/1.1")
			<-limit
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			say(i, conn)
			time.Sleep(time.Until(end))
		})
	}
	group.Wait()
}

const header = "POST /validate/pods?timeout=1s HTTP/1.1\r\nHost: a\r\n"

// connections are what comes over HTTP/1.1, or before it.
func connections() []row {
	held := func(name string, n int, hold time.Duration, say func(i int, conn io.Writer)) row {
		return row{name: name, within: hold + 2*time.Second, run: func(_ *testing.T, x *target) { x.raw(n, hold, say) }}
	}
	write := func(text string) func(int, io.Writer) {
		return func(_ int, conn io.Writer) { _, _ = io.WriteString(conn, text) }
	}
	// answered is for what must get an answer, or have its connection ended.
	answered := func(name, text string) row {
		return row{name: name, within: 7 * time.Second, run: func(t *testing.T, x *target) {
			conn, err := x.dial("http/1.1")
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.WriteString(conn, text) }()
			if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("neither answered nor cut off: %v", err)
			}
			_ = conn.Close()
		}}
	}
	fields := func(n, length int) string {
		return strings.Join(many(n, func(i int) string { return fmt.Sprintf("H%d: %s\r\n", i, strings.Repeat("x", length)) }), "")
	}
	return []row{
		{name: "700 connections that say nothing", within: 6 * time.Second, run: func(_ *testing.T, x *target) {
			for range 700 {
				if conn, err := net.Dial("tcp", x.addr); err == nil {
					defer func() { _ = conn.Close() }()
				}
			}
			time.Sleep(time.Second)
		}},
		held("700 connections that wait after the handshake", 700, 2*time.Second, write("")),
		held("500 headers that do not end", 500, 2*time.Second, write(header+fields(200, 100))),
		held("300 headers of 60 KiB of tiny fields, not ended", 300, 2*time.Second, write(header+fields(6_000, 1))),
		held("500 bodies of which nothing comes", 500, 2*time.Second, write(header+"Content-Length: 20000000\r\n\r\n")),
		held("500 bodies that come to 250 KiB and stop", 500, 3*time.Second, write(header+"Content-Length: 20000000\r\n\r\n"+strings.Repeat(" ", 250<<10))),
		held("60 bodies that come to a megabyte and stop", 60, 3*time.Second, write(header+"Content-Length: 20000000\r\n\r\n"+strings.Repeat(" ", 1<<20))),
		held("300 bodies that come by the byte", 300, 2*time.Second, func(_ int, conn io.Writer) {
			_, _ = io.WriteString(conn, header+"Transfer-Encoding: chunked\r\n\r\n")
			for range 20 {
				_, _ = io.WriteString(conn, "1\r\n \r\n")
				time.Sleep(50 * time.Millisecond)
			}
		}),
		held("300 requests that expect 100-continue", 300, time.Second, write(header+"Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")),
		held("300 clients that do not read", 300, 2*time.Second, func(_ int, conn io.Writer) {
			body := string(review{pod: pod{}.json()}.body())
			_, _ = io.WriteString(conn, strings.Repeat(header+"Content-Length: "+itoa(len(body))+"\r\n\r\n"+body, 50))
		}),
		held("500 clients that leave in the middle of a body", 500, 0, write(header+"Content-Length: 100000\r\n\r\n{")),
		held("500 clients that leave before the answer", 500, 0, func(_ int, conn io.Writer) {
			body := string(review{pod: pod{volumes: many(50, named(`{"name":"o%d","secret":{"secretName":"leave-%d"}}`))}.json()}.body())
			_, _ = io.WriteString(conn, header+"Content-Length: "+itoa(len(body))+"\r\n\r\n"+body)
		}),
		answered("an endless body in chunks", header+"Transfer-Encoding: chunked\r\n\r\n"+strings.Repeat("100000\r\n"+strings.Repeat(" ", 1<<20)+"\r\n", 40)),
		answered("a chunk of 2^62 bytes", header+"Transfer-Encoding: chunked\r\n\r\n4000000000000000\r\n{}"),
		answered("chunk extensions without an end", header+"Transfer-Encoding: chunked\r\n\r\n1;"+strings.Repeat("a", 4<<20)),
		answered("a Content-Length of 2^62", header+"Content-Length: 4611686018427387904\r\n\r\n{}"),
		answered("a Content-Length below zero", header+"Content-Length: -1\r\n\r\n{}"),
		answered("two lengths", header+"Content-Length: 2\r\nContent-Length: 20\r\n\r\n{}"),
		answered("a length and chunks", header+"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		answered("a header of a megabyte", header+"A: "+strings.Repeat("x", 1<<20)+"\r\n\r\n"),
		answered("a header of 300 fields", header+fields(300, 1)+"\r\n"),
		answered("a path of a megabyte", "POST /"+strings.Repeat("a", 1<<20)+" HTTP/1.1\r\nHost: a\r\n\r\n"),
		answered("a query of 60 KiB", "POST /validate/pods?"+strings.Repeat("a&", 30_000)+" HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"),
		answered("a time-out of a thousand years", "POST /validate/pods?timeout=8760000h HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"),
		answered("a path that is not served, with a body of 30 MB", "POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n"+strings.Repeat(" ", 30_000_000)),
		answered("trailers of a megabyte", header+"Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n0\r\nA: "+strings.Repeat("x", 1<<20)+"\r\n\r\n"),
		answered("an upgrade to a websocket", "GET /validate/pods HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
		answered("no HTTP", strings.Repeat("\x00\xff", 1000)+"\r\n\r\n"),
		{name: "no TLS", within: 7 * time.Second, run: func(t *testing.T, x *target) {
			conn, err := net.Dial("tcp", x.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, header+"\r\n")
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.ReadAll(conn); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Error(err)
			}
		}},
		{name: "TLS records of rubbish", within: 7 * time.Second, run: func(_ *testing.T, x *target) {
			for range 200 {
				if conn, err := net.Dial("tcp", x.addr); err == nil {
					_, _ = conn.Write(append([]byte{22, 3, 1, 0x40, 0}, make([]byte, 0x4000)...))
					_ = conn.Close()
				}
			}
		}},
	}
}
