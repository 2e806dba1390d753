package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"tokenward.dev/tokenward/pkg/owntoken"
)

// useOwnToken has all clients of the API server show one token, and says where it
// is not accepted. Nothing ends for that.
func (s *Server) useOwnToken() (err error) {
	if s.config == nil {
		return nil
	}
	s.ownToken, err = owntoken.Use(s.config, func(rejected bool) {
		if rejected {
			s.metrics.OwnTokenRejected.Set(1)
			return
		}
		s.metrics.OwnTokenRejected.Set(0)
		if s.inventory != nil {
			s.inventory.Reconnected()
		}
	}, s.log.WithName("token"))
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	return nil
}

// patient has a part wait for a better token where its own is refused, and go on
// at once when there is one.
func patient(part start) start {
	return func(ctx context.Context) error { return part(owntoken.Patient(ctx)) }
}

// ownTokenProblem says what is wrong with Tokenward's own token; empty if nothing is.
func (s *Server) ownTokenProblem() string {
	if s.ownToken == nil {
		return ""
	}
	since, rejected := s.ownToken.Rejected()
	if !rejected {
		return ""
	}
	return "the API server does not accept Tokenward's own token since " + since.UTC().Format("15:04:05") +
		" UTC: the kubelet renews it within 10 minutes, kubectl rollout restart mends it at once"
}

// checks returns the parts of readiness, one a line. Tokenward's own token is named,
// and makes nobody unready: what the index has is still judged.
func (s *Server) checks(r *http.Request) string {
	var b strings.Builder
	line := func(name, problem string) {
		if problem == "" {
			_, _ = fmt.Fprintf(&b, "[+]%s ok\n", name)
			return
		}
		_, _ = fmt.Fprintf(&b, "[-]%s: %s\n", name, problem)
	}
	for _, c := range s.readiness() {
		problem := ""
		if err := c.check(r); err != nil {
			problem = err.Error()
		}
		line(c.name, problem)
	}
	line("own-token", s.ownTokenProblem())
	return b.String()
}
