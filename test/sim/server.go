package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// server is one of the API servers that share a store.
type server struct {
	world *world
	index int
	// These are guarded by the world's lock.
	up      bool
	stopped chan struct{} // closed when it goes down
	keys    []*signingKey // that it accepts and publishes
	ca      *authority    // of the certificate that it presents
	lag     time.Duration // how far its watch cache is behind
	seen    int64         // the newest version that its watch cache ever had
}

func (s *server) String() string { return fmt.Sprintf("apiserver-%d", s.index) }

// view is the version that the watch cache of the server shows now.
func (s *server) view() int64 {
	s.world.mu.Lock()
	lag, seen := s.lag, s.seen
	s.world.mu.Unlock()
	st := s.world.store
	st.mu.Lock()
	version := st.version
	now := time.Now()
	for i := len(st.events) - 1; i >= 0; i-- {
		if e := &st.events[i]; !e.at.Add(lag).After(now) {
			break
		} else {
			version = e.version - 1
		}
	}
	version = min(max(version, seen), st.version)
	st.mu.Unlock()
	s.world.mu.Lock()
	s.seen = version
	s.world.mu.Unlock()
	return version
}

// answer is what a server says to a request. stream is set for a watch.
type answer struct {
	code   int
	status *metav1.Status // stands for a body
	body   []byte
	stream func(send func([]byte) error)
	header map[string]string
}

// call is a request, taken apart.
type call struct {
	from                      string // the replica
	method                    string
	resource, namespace, name string
	subresource               string
	partial                   bool // the metadata alone is asked for
	binary                    bool // as protobuf
	query                     func(string) string
	body                      []byte
	done                      <-chan struct{}
	silent                    func() bool // whether its watch is to say nothing now
}

// verb names what a call does, for faults.
func (c *call) verb() string {
	switch {
	case c.resource == discovery:
		return discovery
	case c.method != http.MethodGet:
		return "write"
	case c.name != "":
		return "get"
	case c.query("watch") != "":
		return "watch"
	}
	return "list"
}

// discovery is the resource that stands for the paths at which keys are published.
const discovery = "discovery"

// callOf takes a request apart, or returns nil for a path that is not served.
func callOf(r *http.Request, body []byte) *call {
	c := &call{method: r.Method, query: r.URL.Query().Get, body: body, done: r.Context().Done(), silent: func() bool { return false }}
	accept := r.Header.Get("Accept")
	c.partial, c.binary = strings.Contains(accept, "as=PartialObjectMetadata"), strings.HasPrefix(accept, runtime.ContentTypeProtobuf)
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.URL.Path == "/openid/v1/jwks" || r.URL.Path == "/.well-known/openid-configuration":
		c.resource, c.name, c.binary = discovery, r.URL.Path, false
		return c
	case r.URL.Path == "/version":
		c.resource, c.name, c.binary = discovery, r.URL.Path, false
		return c
	case len(parts) >= 3 && parts[0] == "api" && parts[1] == "v1":
		parts = parts[2:]
	case len(parts) >= 4 && parts[0] == "apis" && parts[1] == "tokenward.dev" && parts[2] == "v1alpha1":
		parts = parts[3:]
	default:
		return nil
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		c.namespace, parts = parts[1], parts[2:]
	}
	c.resource = parts[0]
	if len(parts) > 1 {
		c.name = parts[1]
	}
	if len(parts) > 2 {
		c.subresource = parts[2]
	}
	if _, ok := kinds()[c.resource]; !ok {
		return nil
	}
	return c
}

// serve answers a call at this instant.
func (s *server) serve(c *call) answer {
	switch {
	case c == nil:
		return plainNotFound()
	case c.resource == discovery:
		return s.discover(c)
	case c.method != http.MethodGet:
		return s.write(c)
	case c.name != "":
		o := s.world.store.get(id{c.resource, c.namespace, c.name})
		if o == nil {
			return notFound(c)
		}
		return answer{code: http.StatusOK, body: c.form(o)}
	case c.query("watch") != "":
		return s.watch(c)
	}
	return s.list(c)
}

// selects reports whether the call's field selector takes an object.
func (c *call) selects(o *object) bool {
	if o.resource != c.resource || (c.namespace != "" && c.namespace != o.namespace) {
		return false
	}
	for term := range strings.SplitSeq(c.query("fieldSelector"), ",") {
		field, value, _ := strings.Cut(term, "=")
		switch {
		case field == "type" && o.typ != value, field == "metadata.name" && o.name != value:
			return false
		}
	}
	return true
}

func (s *server) discover(c *call) answer {
	s.world.mu.Lock()
	keys := s.keys
	s.world.mu.Unlock()
	switch c.name {
	case "/version":
		return answer{code: http.StatusOK, body: []byte(`{"major":"1","minor":"37","gitVersion":"v1.37.0"}`)}
	case "/openid/v1/jwks":
		list := make([]json.RawMessage, len(keys))
		for i, k := range keys {
			list[i] = k.jwk
		}
		return answer{code: http.StatusOK, body: encode(map[string]any{"keys": list})}
	}
	return answer{code: http.StatusOK, body: encode(map[string]any{"issuer": issuer, "jwks_uri": "https://kubernetes/openid/v1/jwks"})}
}
