// Package doctor follows a request from a pod, or from whoever has a kubeconfig,
// to the API server, link by link: the token, the CA, the name, the connection,
// the certificate, the answers, the rights. It stops at the first link that is
// broken, and names the cure.
//
// It imports packages printable, token and tokentext, and Kubernetes' clients.
// Files, resolver, dialer and clock come with an Environment. Nothing that it reports holds any part of a token.
package doctor

import (
	"context"
	"net"
	"time"

	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/printable"
	"tokenward.dev/tokenward/pkg/token"
)

// Environment is what the chain is looked at with.
type Environment struct {
	ReadFile func(path string) ([]byte, error)
	// Modified is when a file was last written.
	Modified func(path string) (time.Time, error)
	Resolve  func(ctx context.Context, host string) ([]string, error)
	Dial     func(ctx context.Context, network, address string) (net.Conn, error)
	Now      func() time.Time
	// Patience bounds each step that waits for somebody.
	Patience time.Duration
}

// Target is where the request is to go, and with what.
type Target struct {
	// Config says how to reach the API server. Its token and its CA are read
	// from TokenFile and CAFile where these are given.
	Config *rest.Config
	// TokenFile, CAFile and NamespaceFile are those of a pod; empty otherwise.
	TokenFile, CAFile, NamespaceFile string
	// Namespace is whose rights are asked for; that of the token if empty.
	Namespace string
	// InPod is set where the files are those of a pod that the kubelet wrote.
	InPod bool
}

// Status is what a step came to.
type Status string

// The statuses. A Note is worth knowing, and breaks nothing.
const (
	OK     Status = "ok"
	Note   Status = "note"
	Failed Status = "failed"
)

// Name names a step. It is a closed set.
type Name string

// The steps, in their order.
const (
	TokenFile     Name = "token file"
	Claims        Name = "claims"
	Expiry        Name = "expiry"
	Namespace     Name = "namespace"
	CA            Name = "CA"
	Address       Name = "address"
	Resolution    Name = "name"
	TCP           Name = "TCP"
	TLS           Name = "TLS"
	Anonymous     Name = "anonymous"
	Authenticated Name = "authenticated"
	WhoAmI        Name = "who am I"
	Permissions   Name = "permissions"
)

// Step is one link of the chain.
type Step struct {
	Name   Name   `json:"name"`
	Status Status `json:"status"`
	// Seen is what was found.
	Seen string `json:"seen"`
	// Cure is what to do about it.
	Cure string `json:"cure,omitempty"`
}

// Report is the chain up to the first link that is broken.
type Report struct {
	Steps []Step `json:"steps"`
}

// Broken returns the step that failed, or nil.
func (r *Report) Broken() *Step {
	if n := len(r.Steps); n > 0 && r.Steps[n-1].Status == Failed {
		return &r.Steps[n-1]
	}
	return nil
}

// maxSeen bounds what is said of a link.
const maxSeen = 4 << 10

// walk is what is known on the way.
type walk struct {
	Environment
	Target
	token  *token.Token
	config *rest.Config
	// host and port are of the API server; addresses those of the host.
	host, port string
	addresses  []string
	bundle     []byte
	// user is who the API server says that the token is of.
	user string
}

// link looks at one link. It is left out where it means nothing.
type link struct {
	name Name
	look func(ctx context.Context) Step
	// skip is for those that do not apply.
	skip func() bool
}

func ok(seen string) Step           { return Step{Status: OK, Seen: seen} }
func note(seen, cure string) Step   { return Step{Status: Note, Seen: seen, Cure: cure} }
func failed(seen, cure string) Step { return Step{Status: Failed, Seen: seen, Cure: cure} }

// Examine follows the chain. report is called after each step; it may be nil.
func Examine(ctx context.Context, e Environment, t Target, report func(Step)) *Report {
	w := &walk{Environment: e, Target: t, config: rest.CopyConfig(t.Config)}
	w.config.Dial = e.Dial
	w.config.Timeout = e.Patience
	w.config.QPS = -1
	var chain Report
	for _, l := range w.links() {
		if l.skip != nil && l.skip() {
			continue
		}
		step := l.look(ctx)
		step.Name = l.name
		step.Seen = printable.Text(step.Seen, maxSeen) // servers and certificates say anything
		chain.Steps = append(chain.Steps, step)
		if report != nil {
			report(step)
		}
		if step.Status == Failed {
			break
		}
	}
	return &chain
}

func (w *walk) links() []link {
	noToken := func() bool { return w.TokenFile == "" && w.Config.BearerToken == "" && w.Config.BearerTokenFile == "" }
	unread := func() bool { return w.token == nil }
	proxied := func() bool { return w.config.Proxy != nil }
	return []link{
		{TokenFile, w.tokenFile, noToken},
		{Claims, w.claims, noToken},
		{Expiry, w.expiry, unread},
		{Namespace, w.namespace, func() bool { return w.NamespaceFile == "" }},
		{CA, w.ca, nil},
		{Address, w.address, nil},
		{Resolution, w.resolve, proxied},
		{TCP, w.tcp, proxied},
		{TLS, w.tls, proxied},
		{Anonymous, w.anonymous, nil},
		{Authenticated, w.authenticated, nil},
		{WhoAmI, w.whoAmI, nil},
		{Permissions, w.permissions, nil},
	}
}
