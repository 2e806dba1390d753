package app

import (
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// How many failed handshakes are logged in how long. Whoever reaches the port
// can cause them at will.
const (
	handshakesLogged = 10
	handshakeWindow  = time.Minute
)

// httpLog takes what net/http writes to the standard logger, which is where
// controller-runtime's webhook server leaves it, and logs it as ours.
type httpLog struct {
	log      logr.Logger
	throttle throttle
}

// Write implements io.Writer. The standard logger calls it once a message.
func (l *httpLog) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	failed, ok := strings.CutPrefix(text, "http: TLS handshake error from ")
	if !ok {
		l.log.Error(nil, "Message of the HTTP server", "text", text)
		return len(p), nil
	}
	from, reason, _ := strings.Cut(failed, ": ")
	if reason == "EOF" { // it only looked whether the port is open
		return len(p), nil
	}
	if omitted, ok := l.throttle.allow(time.Now()); ok {
		l.log.Info("A TLS handshake has failed", "from", from, "reason", reason, "omittedBefore", omitted)
	}
	return len(p), nil
}

// throttle lets the first few in each window pass.
type throttle struct {
	mu      sync.Mutex
	since   time.Time
	passed  int
	omitted int
}

// allow also reports how many were omitted since the last that passed.
func (t *throttle) allow(now time.Time) (omitted int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.since) >= handshakeWindow {
		t.since, t.passed = now, 0
	}
	if t.passed >= handshakesLogged {
		t.omitted++
		return 0, false
	}
	t.passed++
	omitted, t.omitted = t.omitted, 0
	return omitted, true
}
