package app

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tokenward.dev/tokenward/pkg/intake"
	"tokenward.dev/tokenward/pkg/servingcert"
)

// listen serves a handler until the test ends; stop ends it, and waits.
func listen(t *testing.T, handler http.Handler) (addr string, stop func() error) {
	t.Helper()
	own, err := servingcert.NewSelfSigned([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{GetCertificate: own.GetCertificate, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	s := newWebhookServer(addr, config, handler, intake.NewConnections(func() {}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.start(ctx) }()
	for s.reachable(httptestRequest(t)) != nil {
		time.Sleep(time.Millisecond)
	}
	return addr, func() error { cancel(); return <-ended }
}

func httptestRequest(t *testing.T) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func clientOf(http2 bool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: http2}}
}

func TestAReviewInFlightOutlivesAShutdownButNotItsClient(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		under, finish := make(chan struct{}), make(chan struct{})
		var cancelled atomic.Bool
		addr, stop := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			under <- struct{}{}
			select {
			case <-r.Context().Done():
				cancelled.Store(true)
			case <-finish:
			}
			_, _ = w.Write([]byte("answered"))
		}))
		gone, leave := context.WithCancel(t.Context())
		r := httptestRequest(t).WithContext(gone)
		r.URL.Scheme, r.URL.Host = "https", addr
		first := make(chan error, 1)
		go func() {
			response, err := clientOf(http2).Do(r)
			if err == nil {
				_ = response.Body.Close()
			}
			first <- err
		}()
		<-under
		leave()
		if err := <-first; err == nil {
			t.Error("the client did not go")
		}
		for deadline := time.Now().Add(10 * time.Second); !cancelled.Load(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a review goes on though its client has gone")
			}
		}
		cancelled.Store(false)
		second := make(chan int, 1)
		go func() {
			r := httptestRequest(t)
			r.URL.Scheme, r.URL.Host = "https", addr
			response, err := clientOf(http2).Do(r)
			if err != nil {
				second <- 0
				return
			}
			_ = response.Body.Close()
			second <- response.StatusCode
		}()
		<-under
		stopped := make(chan error, 1)
		go func() { stopped <- stop() }()
		for { // until the port is closed
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				break
			}
			_ = conn.Close()
		}
		close(finish)
		if code := <-second; code != http.StatusOK || cancelled.Load() {
			t.Errorf("HTTP/2 %t: got %d, cancelled %t", http2, code, cancelled.Load())
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
}

func TestHeadersAreBounded(t *testing.T) {
	addr, stop := listen(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for size, want := range map[int]int{12 << 10: http.StatusOK, 60 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		for _, http2 := range []bool{false, true} {
			r := httptestRequest(t)
			r.URL.Scheme, r.URL.Host = "https", addr
			r.Header.Set("A", strings.Repeat("x", size))
			response, err := clientOf(http2).Do(r)
			if err != nil { // a client of HTTP/2 knows the bound and does not even send it
				if want == http.StatusOK || !http2 {
					t.Error(err)
				}
				continue
			}
			_ = response.Body.Close()
			if response.StatusCode != want {
				t.Errorf("%d bytes, HTTP/2 %t: got %d, want %d", size, http2, response.StatusCode, want)
			}
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestAHeaderMustArriveSoon(t *testing.T) {
	addr, stop := listen(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := conn.Write([]byte("POST / HTTP/1.1\r\nHost: a\r\n")); err != nil {
		t.Fatal(err)
	}
	_, _ = bufio.NewReader(conn).ReadString(0)
	if took := time.Since(start); took < headerTimeout-time.Second || took > 3*headerTimeout {
		t.Errorf("the connection ended after %s, want %s", took, headerTimeout)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
