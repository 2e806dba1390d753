package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"tokenward.dev/tokenward/pkg/intake"
)

const (
	// maxHeaderBytes is for all header fields of a request. An API server sends some
	// hundred bytes, or some thousand with a token. Once decoded, tiny fields take up
	// sixteen times their bytes.
	maxHeaderBytes = 16 << 10
	// windowOfStream is no less than what a client may send before it has read the
	// settings of the server.
	windowOfStream = 64 << 10
	// headerTimeout is for a TLS handshake, and for the header of a request.
	headerTimeout = 5 * time.Second
	// idleTimeout is as long as the API server's client keeps a connection.
	idleTimeout = 90 * time.Second
	// lastAnswers is how long reviews in flight may take when the server shuts down. It
	// is longer than the time-out of any.
	lastAnswers = 35 * time.Second
)

// http2Limits bounds what a connection may hold while nobody reads it: a stream has a
// goroutine before anybody counts it, and what is sent on it stays in its window. The
// window of a connection is so much larger than that of a stream that large bodies
// which wait for their turn, intake.MaxWaiting at most, don't hold up others on the
// same connection.
func http2Limits() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          50,
		MaxReadFrameSize:              16 << 10, // a buffer of this size stays with the connection
		MaxReceiveBufferPerStream:     windowOfStream,
		MaxReceiveBufferPerConnection: (intake.MaxWaiting + 2) * windowOfStream,
		SendPingTimeout:               30 * time.Second,
		PingTimeout:                   15 * time.Second,
		WriteByteTimeout:              10 * time.Second,
	}
}

// webhookServer is the server of the webhook port. controller-runtime's has no bounds
// on headers, streams and connections, and ends the contexts of reviews in flight when
// it shuts down.
type webhookServer struct {
	server      *http.Server
	connections *intake.Connections
	listening   atomic.Bool
}

func newWebhookServer(addr string, config *tls.Config, handler http.Handler, connections *intake.Connections) *webhookServer {
	return &webhookServer{connections: connections, server: &http.Server{
		Addr: addr, Handler: handler, TLSConfig: config,
		MaxHeaderBytes: maxHeaderBytes, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, HTTP2: http2Limits(),
		ConnState: connections.State, ErrorLog: stdlog.Default(),
	}}
}

// start serves until the context ends, and then answers what is in flight.
func (s *webhookServer) start(ctx context.Context) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", s.server.Addr)
	if err != nil {
		return err
	}
	s.listening.Store(true)
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastAnswers)
		defer cancel()
		err := s.server.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.Join(fmt.Errorf("reviews in flight took longer than %s", lastAnswers), s.server.Close())
		}
		ended <- err
	})
	if err := s.server.ServeTLS(s.connections.Listener(l), "", ""); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	return <-ended
}

// reachable is the readiness check of the webhook port. It makes no TLS connection,
// which would be refused, counted and logged where a client needs a certificate.
func (s *webhookServer) reachable(r *http.Request) error {
	if !s.listening.Load() {
		return errors.New("the webhook port is not open yet")
	}
	dialer := net.Dialer{Timeout: headerTimeout}
	conn, err := dialer.DialContext(r.Context(), "tcp", s.server.Addr)
	if err != nil {
		return fmt.Errorf("the webhook port is not reachable: %w", err)
	}
	_ = conn.Close()
	return nil
}
