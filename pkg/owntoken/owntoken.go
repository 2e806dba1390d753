// Package owntoken shows the API server the program's own token, and knows whether
// it is accepted. The token is in a file that the kubelet renews. A change of the
// signing keys without an overlap makes it worthless minutes before that.
//
// It is at the very bottom: it imports none of ours.
package owntoken

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
)

const (
	// rereadAfter is how old a copy of the file may be while its token is accepted.
	rereadAfter = 10 * time.Second
	// calm is for how long nothing must be refused before a token counts as accepted
	// that was refused: of several API servers one may refuse what another accepts.
	calm = 30 * time.Second
)

// Token is the program's own token.
type Token struct {
	path     string
	log      logr.Logger
	onChange func(rejected bool)

	mu      sync.Mutex
	text    string
	read    time.Time // when the file was read
	since   time.Time // since when the token is not accepted; zero while it is
	refused string    // the token that was refused last
	last    time.Time // when that was
}

// Use makes all clients of a config show the token in its file. A config without
// such a file stays as it is, and its token is never reported as rejected.
//
// onChange is called when the token is rejected, and when it is accepted again. It
// must return at once.
func Use(config *rest.Config, onChange func(rejected bool), log logr.Logger) (*Token, error) {
	t := &Token{path: config.BearerTokenFile, onChange: onChange, log: log}
	if t.path == "" {
		return t, nil
	}
	if t.current(0) == "" {
		return nil, fmt.Errorf("the file %s has no token", t.path)
	}
	config.BearerToken, config.BearerTokenFile = "", ""
	config.Wrap(t.wrap)
	return t, nil
}

// Rejected returns since when the API server does not accept the token; false if it
// does.
func (t *Token) Rejected() (since time.Time, rejected bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.since, !t.since.IsZero()
}

// current returns the token. The file is read again if the copy is older than
// maxAge. While it can't be read, the copy is what there is.
func (t *Token) current(maxAge time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.read) >= maxAge {
		t.read = now
		if raw, err := os.ReadFile(t.path); err == nil && len(strings.TrimSpace(string(raw))) > 0 {
			t.text = strings.TrimSpace(string(raw))
		}
	}
	return t.text
}

// reject notes that the API server refused the token that is in the file.
func (t *Token) reject(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused, t.last = token, time.Now()
	if !t.since.IsZero() {
		return
	}
	t.since = t.last
	t.log.Error(nil, "The API server does not accept Tokenward's own token; what the index has stays in force. "+
		"The kubelet renews the token within 10 minutes; kubectl rollout restart of Tokenward's Deployment mends it at once", "file", t.path)
	t.onChange(true)
}

// accept notes that the API server accepted a token.
func (t *Token) accept(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() || (token == t.refused && time.Since(t.last) < calm) {
		return
	}
	t.log.Info("The API server accepts Tokenward's own token again", "after", time.Since(t.since).Round(time.Second).String())
	t.since = time.Time{}
	t.onChange(false)
}
