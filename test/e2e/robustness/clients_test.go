package robustness

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// No review is lost on SIGTERM, if whoever asks goes elsewhere once the
// server is unready.
func TestNoReviewIsLostOnSIGTERM(t *testing.T) {
	s := env.StartWebhook(t, "--shutdown-delay=1s", "--log-level=error")
	a := s.Asker(t)
	body := harness.ReviewBody(t, harness.Pod("p", harness.SecretVolume("gone", false)))
	var group sync.WaitGroup
	var answered atomic.Int64
	for range 16 {
		group.Go(func() {
			for looked := (time.Time{}); ; {
				if time.Since(looked) > 100*time.Millisecond {
					if code, _ := s.Get(s.Health, "/readyz"); code != http.StatusOK {
						return
					}
					looked = time.Now()
				}
				if _, err := a.Ask(t.Context(), body); err != nil {
					t.Errorf("lost: %v", err)
					return
				}
				answered.Add(1)
			}
		})
	}
	harness.WaitUntil(t, func() error {
		if answered.Load() < 500 {
			return errors.New("no load yet")
		}
		return nil
	})
	if err := s.Stop(t); err != nil {
		t.Errorf("exit status: %v", err)
	}
	group.Wait()
	t.Logf("%d reviews", answered.Load())
}

// Connections that do nothing, or send and read slowly, hold nobody up. Those that
// are too many are ended, so that it is no fault if one of them fails.
func TestIdleAndSlowClientsHoldNobodyUp(t *testing.T) {
	const slow = 100
	idle := 10_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if most := int(limit.Max) - 2000; idle > most {
		t.Logf("this machine allows only %d open files", limit.Max)
		idle = max(most, 500)
	}
	s := env.StartWebhook(t, "--log-level=error")
	a := s.Asker(t)
	body := harness.ReviewBody(t, harness.Pod("p"))
	address := "127.0.0.1:" + strconv.Itoa(s.Port)
	open := make(chan net.Conn, idle+2*slow)
	defer func() {
		close(open)
		for c := range open {
			_ = c.Close()
		}
	}()
	dial := func(send string) {
		conn, err := (&tls.Dialer{Config: a.TLS}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return
		}
		open <- conn
		_, _ = io.WriteString(conn, send)
	}
	head := fmt.Sprintf("POST /validate/pods HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(body))
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			for range idle / 32 {
				dial("")
			}
		})
	}
	for range slow {
		group.Go(func() { dial(head + string(body[:10])) }) // never sends the rest
		group.Go(func() { dial(head + string(body)) })      // never reads the answer
	}
	group.Wait()
	for range 200 {
		start := time.Now()
		if r, err := a.Ask(t.Context(), body); err != nil || !r.Allowed {
			t.Fatalf("%+v, %v", r, err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Fatalf("a review took %s", took)
		}
	}
}
