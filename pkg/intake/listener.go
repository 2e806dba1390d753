package intake

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// MaxConnections bounds how many connections there are to a server at a time. An API
// server needs few: by HTTP/2 it sends fifty reviews at a time over each.
const MaxConnections = 100

// kernelBuffer bounds what the kernel keeps of each connection, which counts for the
// memory of the container, too. By itself it keeps up to 6 MB.
const kernelBuffer = 64 << 10

// Connections bounds the connections of a server. Where there are too many, one ends
// of the address that has most: of those without a request under way the one that was
// used least recently, or else of all.
type Connections struct {
	closed func() // is called for each that has to make room

	mu        sync.Mutex
	all       *list.List // of *connection, the one first that was used least recently
	places    map[net.Conn]*list.Element
	addresses map[string]int
}

type connection struct {
	net.Conn
	address string
	active  bool
	limit   *Connections
	once    sync.Once
}

// NewConnections returns a bound on connections. closed is called for each that has
// to make room for another.
func NewConnections(closed func()) *Connections {
	return &Connections{closed: closed, all: list.New(), places: map[net.Conn]*list.Element{}, addresses: map[string]int{}}
}

// Listener bounds the connections that a listener accepts. TLS comes above it.
func (c *Connections) Listener(l net.Listener) net.Listener { return &listener{l, c} }

type listener struct {
	net.Listener
	limit *Connections
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if sized, ok := conn.(interface {
		SetReadBuffer(bytes int) error
		SetWriteBuffer(bytes int) error
	}); ok {
		_, _ = sized.SetReadBuffer(kernelBuffer), sized.SetWriteBuffer(kernelBuffer)
	}
	return l.limit.add(conn), nil
}

func (c *Connections) add(conn net.Conn) net.Conn {
	address := addressOf(conn.RemoteAddr().String())
	added := &connection{Conn: conn, address: address, limit: c}
	c.mu.Lock()
	c.places[added] = c.all.PushBack(added)
	c.addresses[address]++
	var victim *connection
	if c.all.Len() > MaxConnections {
		victim = c.victim()
	}
	c.mu.Unlock()
	if victim != nil {
		c.closed()
		_ = victim.Close()
	}
	return added
}

// victim is whose turn it is to make room.
func (c *Connections) victim() *connection {
	most, address := 0, ""
	for a, n := range c.addresses {
		if n > most || (n == most && a < address) {
			most, address = n, a
		}
	}
	var first *connection
	for e := c.all.Front(); e != nil; e = e.Next() {
		conn, ok := e.Value.(*connection)
		if !ok || conn.address != address {
			continue
		}
		if !conn.active {
			return conn
		}
		if first == nil {
			first = conn
		}
	}
	return first
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.once.Do(func() {
		c.limit.mu.Lock()
		defer c.limit.mu.Unlock()
		c.limit.all.Remove(c.limit.places[c])
		delete(c.limit.places, c)
		if c.limit.addresses[c.address]--; c.limit.addresses[c.address] == 0 {
			delete(c.limit.addresses, c.address)
		}
	})
	return c.Conn.Close()
}

// State is for http.Server.ConnState. The server has a tls.Conn around ours.
func (c *Connections) State(conn net.Conn, state http.ConnState) {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ours, ok := conn.(*connection)
	if !ok {
		return
	}
	ours.active = state == http.StateActive
	if element := c.places[ours]; element != nil && (ours.active || state == http.StateIdle) {
		c.all.MoveToBack(element)
	}
}
